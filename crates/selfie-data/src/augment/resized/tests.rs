use super::*;
use selfie_random::Purpose;

fn window(crop: ResizedCrop, height: usize, width: usize, example: u32) -> Window {
    crop.draw(height, width, &mut Stream::new(1, Purpose::ResizedCrop, 0, example))
}

#[test]
fn windows_lie_inside_the_image_and_have_the_shapes_and_areas_asked_for() {
    let crop = ResizedCrop { min_scale: 0.25 };
    for (height, width) in [(32, 32), (256, 256), (90, 120)] {
        for example in 0..2000 {
            let window = window(crop, height, width, example);
            assert!(window.top + window.height <= height && window.left + window.width <= width, "{window:?}");
            let ratio = window.width as f64 / window.height as f64;
            assert!((0.7..1.43).contains(&ratio), "{window:?}");
            // Each side is rounded by up to half a pixel.
            let most_lost = 0.5 * (window.width + window.height) as f64;
            assert!((window.width * window.height) as f64 + most_lost >= 0.25 * (height * width) as f64, "{window:?}");
        }
    }
}

#[test]
fn places_are_uniform_among_those_that_fit() {
    let mut counts = [0_u32; 3];
    for example in 0..60_000 {
        let window = window(ResizedCrop::default(), 32, 32, example);
        if (window.height, window.width) == (30, 30) {
            counts[window.top] += 1;
        }
    }
    let mean = counts.iter().sum::<u32>() / 3;
    assert!(mean > 30, "{counts:?}");
    assert!(counts.iter().all(|count| f64::from(count.abs_diff(mean)) < 5.0 * f64::from(mean).sqrt()), "{counts:?}");
}

/// No window of this share fits into so long an image.
#[test]
fn without_a_fit_the_largest_centred_window_is_taken() {
    let whole = ResizedCrop { min_scale: 1.0 };
    assert_eq!(window(whole, 20, 200, 0), Window { top: 0, left: 86, height: 20, width: 27 });
    assert_eq!(window(whole, 200, 20, 0), Window { top: 86, left: 0, height: 27, width: 20 });
    assert_eq!(centred(6, 7), Window { top: 0, left: 0, height: 6, width: 7 });
}

#[test]
fn a_window_of_the_side_asked_for_is_copied() {
    let image: Vec<u8> = (0..10 * 12 * 3).map(|i| (i * 7 % 256) as u8).collect();
    let mut out = vec![0; 5 * 5 * 3];
    resize(&image, (10, 12), Window { top: 3, left: 4, height: 5, width: 5 }, 5, &mut out);
    for (y, line) in out.chunks_exact(15).enumerate() {
        assert_eq!(line, &image[((3 + y) * 12 + 4) * 3..][..15]);
    }
}

#[test]
fn pixels_outside_the_window_do_not_count() {
    let window = Window { top: 4, left: 4, height: 8, width: 8 };
    let resized = |outside: u8| {
        let mut image = vec![outside; 16 * 16 * 3];
        for y in 4..12 {
            image[(y * 16 + 4) * 3..(y * 16 + 12) * 3].fill(90);
        }
        let mut out = vec![0; 5 * 5 * 3];
        resize(&image, (16, 16), window, 5, &mut out);
        out
    };
    assert_eq!(resized(0), [90; 75]);
    assert_eq!(resized(255), [90; 75]);
}

#[test]
fn windows_outside_and_empty_ones_panic() {
    for (top, left, height, width) in [(0, 0, 0, 1), (3, 0, 2, 1), (0, 4, 1, 1), (usize::MAX, 0, 1, 1)] {
        let run = || resize(&[0; 48], (4, 4), Window { top, left, height, width }, 1, &mut [0; 3]);
        assert!(std::panic::catch_unwind(run).is_err(), "{top} {left} {height} {width}");
    }
}

#[test]
fn a_share_of_none_and_more_than_all_are_refused() {
    for min_scale in [0.0, -1.0, 1.1, f64::NAN] {
        assert!(ResizedCrop { min_scale }.check().is_err(), "{min_scale}");
    }
    assert!(ResizedCrop { min_scale: 1.0 }.check().is_ok());
}
