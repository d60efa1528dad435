//! The convolutional network as an ONNX model: from u8 pixels to the embedding, and to a classifier's logits.
//!
//! The attention pooling is left out: without it the graph needs seven kinds of nodes, which every runtime has. The input
//! normalises itself, so that nothing about a network has to be known to use it.

use crate::config::{Architecture, ClassifierKind, SelfieConfig, Stem};
use crate::error::ModelError;
use crate::selfie::PATCH_NETWORK;
use crate::weights::{Metadata, WeightsFile};
use candle_core::{DType, Tensor};
use graph::{Attribute, Element, Graph};
use std::collections::BTreeMap;

mod graph;
mod proto;
#[cfg(test)]
mod tests;

/// PyTorch's ε of batch norms.
const EPSILON: f32 = 1e-5;

impl WeightsFile {
    /// The bytes of an ONNX model (opset 17) of the network's convolutional part.
    ///
    /// # Shapes
    ///
    /// - input `pixels`: u8 `[B, H, W, 3]`, red, green, blue; H = W is the network's image size
    /// - output `embedding`: f32 `[B, 16 · width]` of a pretraining network, `[B, 32 · width]` of a classifier
    /// - output `logits`, of a classifier: f32 `[B, L]`
    ///
    /// # Errors
    ///
    /// If a tensor is missing, or a classifier is not of the whole ResNet.
    pub fn to_onnx(&self) -> Result<Vec<u8>, ModelError> {
        let (prefix, n_stages, n_classes) = match &self.metadata {
            Metadata::Pretraining(_) => (PATCH_NETWORK, 3, None),
            Metadata::Classifier(config) => match config.kind {
                ClassifierKind::Stage4 => ("", 4, Some(config.classes.len())),
                ClassifierKind::AttentionPooling => return Err(no_graph_of("attention_pooling")),
                ClassifierKind::PatchNetwork => return Err(no_graph_of("patch_network")),
            },
        };
        let config = self.metadata.network();
        let mut network = Network { tensors: &self.tensors, prefix, config, graph: Graph::default() };
        let x = network.input()?;
        let x = network.stem(x)?;
        let x = (0..n_stages).try_fold(x, |x, stage| network.stage(x, stage))?;
        let x = match config.architecture {
            Architecture::Resnet50V2 => network.norm_relu(x, "norm")?,
            Architecture::Resnet50V15 => x,
        };
        let pooled = network.graph.node("GlobalAveragePool", &[&x], &[]);
        let embedding = network.graph.named_node("Flatten", &[&pooled], &[("axis", Attribute::Int(1))], "embedding");
        let width = (config.width << (n_stages - 1)) * 4;
        network.graph.output(&embedding, &[width]);
        if let Some(n_classes) = n_classes {
            network.last_layer(&embedding, n_classes)?;
        }
        Ok(network.graph.into_model())
    }
}

/// A graph that is built, and the weights it is built from.
struct Network<'a> {
    tensors: &'a BTreeMap<String, Tensor>,
    prefix: &'a str,
    config: &'a SelfieConfig,
    graph: Graph,
}

impl Network<'_> {
    /// Pixels to normalised numbers, `[B, 3, H, W]`.
    fn input(&mut self) -> Result<String, ModelError> {
        let (side, constants) = (self.config.image_size, self.config.normalization);
        self.graph.input("pixels", Element::U8, &[side, side, 3]);
        let x = self.graph.node("Cast", &["pixels"], &[("to", Attribute::Int(Element::F32 as i64))]);
        let x = self.graph.node("Transpose", &[&x], &[("perm", Attribute::Ints(vec![0, 3, 1, 2]))]);
        // (x / 255 − mean) / std in two steps.
        let scale = constants.std.map(|std| 1.0 / (255.0 * std));
        let shift = [0, 1, 2].map(|i| -constants.mean[i] / constants.std[i]);
        self.graph.constant("scale", &[1, 3, 1, 1], &scale);
        self.graph.constant("shift", &[1, 3, 1, 1], &shift);
        let x = self.graph.node("Mul", &[&x, "scale"], &[]);
        Ok(self.graph.node("Add", &[&x, "shift"], &[]))
    }

    fn stem(&mut self, x: String) -> Result<String, ModelError> {
        let (kernel, stride) = match self.config.stem {
            Stem::ThreeByThree => (3, 1),
            Stem::SevenBySeven => (7, 2),
        };
        let x = match self.config.architecture {
            Architecture::Resnet50V2 => self.conv(&x, "stem.conv", kernel, stride)?,
            Architecture::Resnet50V15 => {
                let x = self.conv(&x, "conv1", kernel, stride)?;
                self.norm_relu(x, "bn1")?
            }
        };
        if self.config.stem == Stem::ThreeByThree {
            return Ok(x);
        }
        let attributes = [
            ("kernel_shape", Attribute::Ints(vec![3, 3])),
            ("strides", Attribute::Ints(vec![2, 2])),
            ("pads", Attribute::Ints(vec![1; 4])),
        ];
        Ok(self.graph.node("MaxPool", &[&x], &attributes))
    }

    fn stage(&mut self, x: String, stage: usize) -> Result<String, ModelError> {
        (0..self.config.depths[stage]).try_fold(x, |x, block| {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            match self.config.architecture {
                Architecture::Resnet50V2 => self.pre_activation(x, &format!("stages.{stage}.blocks.{block}"), stride),
                Architecture::Resnet50V15 => self.post_activation(x, &format!("layer{}.{block}", stage + 1), stride),
            }
        })
    }

    /// A v2 block: the shortcut is taken after the first norm where it is projected.
    fn pre_activation(&mut self, x: String, block: &str, stride: i64) -> Result<String, ModelError> {
        let a = self.norm_relu(x.clone(), &format!("{block}.norm1"))?;
        let projection = format!("{block}.downsample.conv");
        let shortcut = if self.has(&projection) { self.conv(&a, &projection, 1, stride)? } else { x };
        let a = self.conv(&a, &format!("{block}.conv1"), 1, 1)?;
        let a = self.norm_relu(a, &format!("{block}.norm2"))?;
        let a = self.conv(&a, &format!("{block}.conv2"), 3, stride)?;
        let a = self.norm_relu(a, &format!("{block}.norm3"))?;
        let a = self.conv(&a, &format!("{block}.conv3"), 1, 1)?;
        Ok(self.graph.node("Add", &[&a, &shortcut], &[]))
    }

    /// A v1.5 block.
    fn post_activation(&mut self, x: String, block: &str, stride: i64) -> Result<String, ModelError> {
        let projection = format!("{block}.downsample.0");
        let shortcut = if self.has(&projection) {
            let projected = self.conv(&x, &projection, 1, stride)?;
            self.norm(&projected, &format!("{block}.downsample.1"))?
        } else {
            x.clone()
        };
        let a = self.conv(&x, &format!("{block}.conv1"), 1, 1)?;
        let a = self.norm_relu(a, &format!("{block}.bn1"))?;
        let a = self.conv(&a, &format!("{block}.conv2"), 3, stride)?;
        let a = self.norm_relu(a, &format!("{block}.bn2"))?;
        let a = self.conv(&a, &format!("{block}.conv3"), 1, 1)?;
        let a = self.norm(&a, &format!("{block}.bn3"))?;
        let sum = self.graph.node("Add", &[&a, &shortcut], &[]);
        Ok(self.graph.node("Relu", &[&sum], &[]))
    }

    fn last_layer(&mut self, embedding: &str, n_classes: usize) -> Result<(), ModelError> {
        let name = if self.config.architecture == Architecture::Resnet50V2 { "head.fc" } else { "fc" };
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        // timm keeps it as a 1×1 convolution.
        let matrix = self.tensor(&weight)?.reshape((n_classes, ()))?;
        self.graph.constant(&weight, matrix.dims(), &numbers(&matrix)?);
        self.weight(&bias)?;
        let attributes = [("transB", Attribute::Int(1))];
        let logits = self.graph.named_node("Gemm", &[embedding, &weight, &bias], &attributes, "logits");
        self.graph.output(&logits, &[n_classes]);
        Ok(())
    }

    fn has(&self, conv: &str) -> bool {
        self.tensors.contains_key(&format!("{}{conv}.weight", self.prefix))
    }

    fn conv(&mut self, x: &str, name: &str, kernel: i64, stride: i64) -> Result<String, ModelError> {
        let weight = format!("{name}.weight");
        self.weight(&weight)?;
        let attributes = [
            ("kernel_shape", Attribute::Ints(vec![kernel; 2])),
            ("strides", Attribute::Ints(vec![stride; 2])),
            ("pads", Attribute::Ints(vec![kernel / 2; 4])),
        ];
        Ok(self.graph.node("Conv", &[x, &weight], &attributes))
    }

    fn norm(&mut self, x: &str, name: &str) -> Result<String, ModelError> {
        let parts = ["weight", "bias", "running_mean", "running_var"].map(|part| format!("{name}.{part}"));
        parts.iter().try_for_each(|part| self.weight(part))?;
        let [weight, bias, mean, var] = &parts;
        let attributes = [("epsilon", Attribute::Float(EPSILON))];
        Ok(self.graph.node("BatchNormalization", &[x, weight, bias, mean, var], &attributes))
    }

    fn norm_relu(&mut self, x: String, name: &str) -> Result<String, ModelError> {
        let normalised = self.norm(&x, name)?;
        Ok(self.graph.node("Relu", &[&normalised], &[]))
    }

    /// Adds a tensor of the weights file under its name without the prefix.
    fn weight(&mut self, name: &str) -> Result<(), ModelError> {
        let tensor = self.tensor(name)?;
        let (dims, values) = (tensor.dims().to_vec(), numbers(tensor)?);
        self.graph.constant(name, &dims, &values);
        Ok(())
    }

    fn tensor(&self, name: &str) -> Result<&Tensor, ModelError> {
        self.tensors.get(&format!("{}{name}", self.prefix)).ok_or_else(|| ModelError::Tensors {
            network: "to be exported".to_owned(),
            keys: Vec::new(),
            problems: vec![format!("`{}{name}` is missing", self.prefix)],
        })
    }
}

/// The error of a classifier that ONNX does not get.
fn no_graph_of(kind: &str) -> ModelError {
    let expected = "stage4, the only classifier with an ONNX graph (leave the graph out for others)".to_owned();
    ModelError::Config { key: "kind", expected, got: kind.to_owned() }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f32>, ModelError> {
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?)
}
