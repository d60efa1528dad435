//! Convolutions against their definition, written out: finite differences cannot see a forward that reads the wrong pixel.

use crate::{normal, values};
use selfie_ops::{ConvSpec, conv2d};

/// Σ over taps and channels, one output at a time.
fn by_definition(x: &[f64], weight: &[f64], spec: ConvSpec, [images, height, width]: [usize; 3]) -> Vec<f64> {
    let ConvSpec { kernel, stride, padding, in_channels, out_channels } = spec;
    let (out_height, out_width) = (spec.output_side(height).unwrap(), spec.output_side(width).unwrap());
    let mut y = Vec::new();
    for i in 0..images * out_height * out_width * out_channels {
        let (pixel, out) = (i / out_channels, i % out_channels);
        let (image, out_y, out_x) =
            (pixel / (out_height * out_width), pixel / out_width % out_height, pixel % out_width);
        let mut sum = 0.0;
        for tap in 0..kernel * kernel {
            let (y, x_at) = (out_y * stride + tap / kernel, out_x * stride + tap % kernel);
            if y < padding || x_at < padding || y - padding >= height || x_at - padding >= width {
                continue;
            }
            let from = ((image * height + y - padding) * width + x_at - padding) * in_channels;
            for c in 0..in_channels {
                sum += x[from + c] * weight[(tap * in_channels + c) * out_channels + out];
            }
        }
        y.push(sum);
    }
    y
}

fn check(spec: ConvSpec, [images, height, width]: [usize; 3]) {
    let x = normal(1, &[images, height, width, spec.in_channels]);
    let weight = normal(2, &[spec.weight_len()]);
    let got = values(&conv2d(&x, &weight, spec).unwrap());
    let expected = by_definition(&values(&x), &values(&weight), spec, [images, height, width]);
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(&expected) {
        assert!((got - expected).abs() < 1e-11, "{spec:?} of {images} images {height}x{width}: {got} for {expected}");
    }
}

#[test]
fn convolutions_equal_their_definition_whatever_the_piece_they_fall_in() {
    let seven = |channels| ConvSpec { kernel: 7, stride: 2, padding: 3, in_channels: channels, out_channels: 5 };
    let unpadded = ConvSpec { kernel: 3, stride: 2, padding: 0, in_channels: 16, out_channels: 3 };
    for size in [[1, 5, 4], [3, 8, 7], [5, 2, 2], [2, 48, 52], [70, 4, 4]] {
        for channels in [3, 16, 20] {
            check(ConvSpec::pointwise(channels, 5, 1), size);
            check(ConvSpec::pointwise(channels, 5, 2), size);
            check(ConvSpec::three(channels, 5, 1), size);
            check(ConvSpec::three(channels, 5, 2), size);
        }
        check(seven(3), size);
        check(seven(16), size);
        if size[1] > 2 {
            check(unpadded, size);
        }
    }
}
