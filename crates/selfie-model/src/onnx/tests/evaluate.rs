//! Reads an ONNX file again and computes it by plain loops, a node at a time, as ONNX defines its operators. An operator or
//! a setting that the exporter does not use is a panic.

use std::collections::BTreeMap;

/// A message of protocol buffers: its fields by number, in the file's order.
struct Message<'a>(Vec<(u64, Field<'a>)>);

enum Field<'a> {
    Number(u64),
    Float(f32),
    Bytes(&'a [u8]),
}

impl<'a> Message<'a> {
    fn read(mut bytes: &'a [u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let field = match tag & 7 {
                0 => Field::Number(varint(&mut bytes)),
                2 => {
                    let n = varint(&mut bytes) as usize;
                    Field::Bytes(take(&mut bytes, n))
                }
                5 => Field::Float(f32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap())),
                wire => panic!("a field of wire type {wire}"),
            };
            fields.push((tag >> 3, field));
        }
        Self(fields)
    }

    fn bytes(&self, number: u64) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |field| field.0 == number).map(|field| match field.1 {
            Field::Bytes(bytes) => bytes,
            _ => panic!("field {} is no bytes", field.0),
        })
    }

    fn messages(&self, number: u64) -> impl Iterator<Item = Message<'a>> {
        self.bytes(number).map(Message::read)
    }

    fn texts(&self, number: u64) -> Vec<String> {
        self.bytes(number).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect()
    }

    fn numbers(&self, number: u64) -> Vec<usize> {
        let fields = self.0.iter().filter(|field| field.0 == number);
        let numbers = fields.map(|field| match field.1 {
            Field::Number(value) => value as usize,
            _ => panic!("field {} is no number", field.0),
        });
        numbers.collect()
    }
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(n);
    *bytes = rest;
    taken
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let n = bytes.iter().position(|byte| *byte < 0x80).unwrap() + 1;
    take(bytes, n).iter().rev().fold(0u64, |value, byte| value << 7 | u64::from(byte & 0x7f))
}

/// A value of the graph, row by row.
#[derive(Clone, Debug)]
pub(super) struct Array {
    pub(super) dims: Vec<usize>,
    pub(super) values: Vec<f64>,
}

impl Array {
    /// Each number with its channel, of `[B, C, …]`.
    fn by_channel(&self, f: impl Fn(f64, usize) -> f64) -> Self {
        let n_places: usize = self.dims[2..].iter().product();
        let channel = |i: usize| i / n_places % self.dims[1];
        let values = self.values.iter().enumerate().map(|(i, value)| f(*value, channel(i))).collect();
        Self { dims: self.dims.clone(), values }
    }

    /// With another array of the same shape, or of a number a channel.
    fn with(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        if self.dims == other.dims {
            let values = self.values.iter().zip(&other.values).map(|(a, b)| f(*a, *b)).collect();
            return Self { dims: self.dims.clone(), values };
        }
        assert_eq!(other.dims, [1, self.dims[1], 1, 1]);
        self.by_channel(|value, channel| f(value, other.values[channel]))
    }
}

/// An operation and its settings.
struct Node<'a> {
    operator: String,
    settings: BTreeMap<String, Message<'a>>,
}

/// The outputs of a model's graph by name, with `pixels` as its input.
pub(super) fn computed(model: &[u8], pixels: Array) -> BTreeMap<String, Array> {
    let graph = Message::read(model).messages(7).next().unwrap();
    let mut values = BTreeMap::from([(graph.messages(11).next().unwrap().texts(1).remove(0), pixels)]);
    for constant in graph.messages(5) {
        let bytes = constant.bytes(9).next().unwrap();
        let numbers = bytes.chunks_exact(4).map(|four| f64::from(f32::from_le_bytes(four.try_into().unwrap())));
        values.insert(constant.texts(8).remove(0), Array { dims: constant.numbers(1), values: numbers.collect() });
    }
    for node in graph.messages(1) {
        let inputs: Vec<&Array> = node.texts(1).iter().map(|name| &values[name]).collect();
        let settings = node.messages(5).map(|setting| (setting.texts(1).remove(0), setting)).collect();
        let output = compute(&Node { operator: node.texts(4).remove(0), settings }, &inputs);
        values.insert(node.texts(2).remove(0), output);
    }
    let outputs = graph.messages(12).flat_map(|output| output.texts(1));
    outputs.map(|name| (name.clone(), values[&name].clone())).collect()
}

fn compute(node: &Node<'_>, inputs: &[&Array]) -> Array {
    let x = inputs[0];
    let settings: Vec<&str> = node.settings.keys().map(String::as_str).collect();
    match (node.operator.as_str(), &settings[..]) {
        ("Cast", ["to"]) => x.clone(),
        ("Transpose", ["perm"]) => transpose(x, &node.settings["perm"].numbers(8)),
        ("Mul", []) => x.with(inputs[1], |a, b| a * b),
        ("Add", []) => x.with(inputs[1], |a, b| a + b),
        ("Relu", []) => x.by_channel(|value, _| value.max(0.0)),
        ("BatchNormalization", ["epsilon"]) => {
            let Field::Float(epsilon) = node.settings["epsilon"].0[1].1 else { panic!("an epsilon that is no number") };
            let &[_, gain, bias, mean, var] = inputs else { panic!("a norm of {} inputs", inputs.len()) };
            x.by_channel(|value, c| {
                let normalised = (value - mean.values[c]) / (var.values[c] + f64::from(epsilon)).sqrt();
                gain.values[c] * normalised + bias.values[c]
            })
        }
        ("Conv", ["kernel_shape", "pads", "strides"]) => conv(node, x, inputs[1]),
        ("MaxPool", ["kernel_shape", "pads", "strides"]) => max_pool(node, x),
        ("GlobalAveragePool", []) => {
            let n_places: usize = x.dims[2..].iter().product();
            let means = x.values.chunks(n_places).map(|map| map.iter().sum::<f64>() / n_places as f64);
            Array { dims: vec![x.dims[0], x.dims[1], 1, 1], values: means.collect() }
        }
        ("Flatten", ["axis"]) => Array { dims: vec![x.dims[0], x.values.len() / x.dims[0]], values: x.values.clone() },
        ("Gemm", ["transB"]) => linear(x, inputs[1], inputs[2]),
        other => panic!("no loops for {other:?}"),
    }
}

fn transpose(x: &Array, perm: &[usize]) -> Array {
    let strides: Vec<usize> = perm.iter().map(|axis| x.dims[axis + 1..].iter().product()).collect();
    let dims: Vec<usize> = perm.iter().map(|axis| x.dims[*axis]).collect();
    let value = |mut i: usize| {
        let mut at = 0;
        for (dim, stride) in dims.iter().zip(&strides).rev() {
            at += i % dim * stride;
            i /= dim;
        }
        x.values[at]
    };
    let values = (0..x.values.len()).map(value).collect();
    Array { dims, values }
}

/// Height and width of what a sliding kernel writes, and for each place of it the places that it reads: of the kernel and
/// of the map.
fn windows(node: &Node<'_>, x: &Array) -> ([usize; 2], Vec<Vec<(usize, usize)>>) {
    let setting = |name: &str| node.settings[name].numbers(8);
    let (kernel, strides, pads) = (setting("kernel_shape"), setting("strides"), setting("pads"));
    // The pads before come before those behind.
    let size =
        [0, 1].map(|axis: usize| (x.dims[2 + axis] + pads[axis] + pads[2 + axis] - kernel[axis]) / strides[axis] + 1);
    let read = |axis: usize, at: usize, k: usize| {
        (at * strides[axis] + k).checked_sub(pads[axis]).filter(|place| *place < x.dims[2 + axis])
    };
    let mut windows = Vec::new();
    for (row, column) in (0..size[0]).flat_map(|row| (0..size[1]).map(move |column| (row, column))) {
        let mut window = Vec::new();
        for place in 0..kernel[0] * kernel[1] {
            let (y, x_at) = (read(0, row, place / kernel[1]), read(1, column, place % kernel[1]));
            window.extend(y.zip(x_at).map(|(y, x_at)| (place, y * x.dims[3] + x_at)));
        }
        windows.push(window);
    }
    (size, windows)
}

fn conv(node: &Node<'_>, x: &Array, weight: &Array) -> Array {
    let ([height, width], windows) = windows(node, x);
    let (b, n_in, n_out) = (x.dims[0], x.dims[1], weight.dims[0]);
    let (map, kernel) = (x.dims[2] * x.dims[3], weight.dims[2] * weight.dims[3]);
    assert_eq!(weight.dims[1], n_in, "a convolution without groups");
    let mut values = Vec::with_capacity(b * n_out * windows.len());
    for (image, out) in (0..b).flat_map(|image| (0..n_out).map(move |out| (image, out))) {
        let terms = |window: &[(usize, usize)], c: usize| {
            let (maps, weights) = (&x.values[(image * n_in + c) * map..], &weight.values[(out * n_in + c) * kernel..]);
            window.iter().map(|(place, at)| maps[*at] * weights[*place]).sum::<f64>()
        };
        values.extend(windows.iter().map(|window| (0..n_in).map(|c| terms(window, c)).sum::<f64>()));
    }
    Array { dims: vec![b, n_out, height, width], values }
}

fn max_pool(node: &Node<'_>, x: &Array) -> Array {
    let ([height, width], windows) = windows(node, x);
    let mut values = Vec::new();
    for map in x.values.chunks(x.dims[2] * x.dims[3]) {
        let largest = |window: &Vec<(usize, usize)>| window.iter().map(|(_, at)| map[*at]).fold(f64::MIN, f64::max);
        values.extend(windows.iter().map(largest));
    }
    Array { dims: vec![x.dims[0], x.dims[1], height, width], values }
}

fn linear(x: &Array, weight: &Array, bias: &Array) -> Array {
    let width = x.dims[1];
    let mut values = Vec::new();
    for row in x.values.chunks(width) {
        let dot = |of_class: &[f64]| row.iter().zip(of_class).map(|(a, b)| a * b).sum::<f64>();
        values.extend(weight.values.chunks(width).zip(&bias.values).map(|(of_class, bias)| dot(of_class) + bias));
    }
    Array { dims: vec![x.dims[0], weight.dims[0]], values }
}
