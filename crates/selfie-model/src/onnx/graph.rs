//! An ONNX graph: nodes, constants, inputs and outputs, as onnx.proto3 numbers their fields.

use super::proto::Message;

/// Version of the file format, of 2021, and of the operators.
const IR_VERSION: u64 = 8;
const OPSET: u64 = 17;

/// Number types, by onnx's numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Element {
    F32 = 1,
    U8 = 2,
}

/// A node's setting.
#[derive(Clone, Debug)]
pub(super) enum Attribute {
    Float(f32),
    Int(i64),
    Ints(Vec<i64>),
}

/// A graph while it is built. Nodes come in the order in which they compute.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Message>,
    constants: Vec<Message>,
    inputs: Vec<Message>,
    outputs: Vec<Message>,
}

impl Graph {
    /// Adds a node and returns the name of what it computes.
    pub(super) fn node(&mut self, operator: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> String {
        let name = format!("{}_{}", operator.to_lowercase(), self.nodes.len());
        self.named_node(operator, inputs, attributes, &name)
    }

    /// As [`Self::node`], with a name for what it computes.
    pub(super) fn named_node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
        output: &str,
    ) -> String {
        let mut node = Message::default();
        inputs.iter().for_each(|input| node.text(1, input));
        node.text(2, output);
        node.text(3, output);
        node.text(4, operator);
        for (name, attribute) in attributes {
            node.message(5, &attribute.message(name));
        }
        self.nodes.push(node);
        output.to_owned()
    }

    /// Adds an f32 tensor.
    pub(super) fn constant(&mut self, name: &str, dims: &[usize], values: &[f32]) {
        let mut tensor = Message::default();
        dims.iter().for_each(|&dim| tensor.number(1, dim as u64));
        tensor.number(2, Element::F32 as u64);
        tensor.text(8, name);
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensor.bytes(9, &bytes);
        self.constants.push(tensor);
    }

    /// An input `[B, dims…]`.
    pub(super) fn input(&mut self, name: &str, element: Element, dims: &[usize]) {
        self.inputs.push(value(name, element, dims));
    }

    /// An f32 output `[B, dims…]`.
    pub(super) fn output(&mut self, name: &str, dims: &[usize]) {
        self.outputs.push(value(name, Element::F32, dims));
    }

    /// The bytes of a model with this graph.
    pub(super) fn into_model(self) -> Vec<u8> {
        let mut graph = Message::default();
        self.nodes.iter().for_each(|node| graph.message(1, node));
        graph.text(2, "selfie");
        self.constants.iter().for_each(|constant| graph.message(5, constant));
        self.inputs.iter().for_each(|input| graph.message(11, input));
        self.outputs.iter().for_each(|output| graph.message(12, output));
        let mut opset = Message::default();
        opset.number(2, OPSET);
        let mut model = Message::default();
        model.number(1, IR_VERSION);
        model.text(2, "selfie");
        model.message(7, &graph);
        model.message(8, &opset);
        model.into_bytes()
    }
}

impl Attribute {
    fn message(&self, name: &str) -> Message {
        let mut message = Message::default();
        message.text(1, name);
        // The last field is the kind.
        match self {
            Self::Float(value) => {
                message.float(2, *value);
                message.number(20, 1);
            }
            Self::Int(value) => {
                message.number(3, *value as u64);
                message.number(20, 2);
            }
            Self::Ints(values) => {
                values.iter().for_each(|&value| message.number(8, value as u64));
                message.number(20, 7);
            }
        }
        message
    }
}

/// A value's name, number type and shape, whose first size is any.
fn value(name: &str, element: Element, dims: &[usize]) -> Message {
    let mut shape = Message::default();
    let mut batch = Message::default();
    batch.text(2, "B");
    shape.message(1, &batch);
    for &dim in dims {
        let mut size = Message::default();
        size.number(1, dim as u64);
        shape.message(1, &size);
    }
    let mut tensor = Message::default();
    tensor.number(1, element as u64);
    tensor.message(2, &shape);
    let mut kind = Message::default();
    kind.message(1, &tensor);
    let mut value = Message::default();
    value.text(1, name);
    value.message(2, &kind);
    value
}
