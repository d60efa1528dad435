use super::*;

#[test]
fn warmup_rises_linearly_to_the_peak() {
    let schedule = Schedule::new(0.4, 4, 100);
    let close = |step_idx: u64, expected: f64| (schedule.at(step_idx) - expected).abs() < 1e-15;
    assert!(close(0, 0.1) && close(1, 0.2) && close(2, 0.3) && close(3, 0.4) && close(4, 0.4));
}

#[test]
fn the_cosine_ends_at_zero_and_passes_half_the_peak_in_the_middle() {
    let schedule = Schedule::new(0.4, 4, 104);
    assert!((schedule.at(54) - 0.2).abs() < 1e-15);
    assert!(schedule.at(103) > 0.0 && schedule.at(103) < 1e-3 * 0.4);
    assert_eq!(schedule.at(104), 0.0);
    assert_eq!(schedule.at(u64::MAX), 0.0);
}

#[test]
fn no_warmup_starts_at_the_peak_and_one_step_trains() {
    assert_eq!(Schedule::new(0.1, 0, 10).at(0), 0.1);
    assert_eq!(Schedule::new(0.1, 0, 1).at(0), 0.1);
}

#[test]
fn the_rate_never_rises_after_the_warmup() {
    let schedule = Schedule::new(0.1, 10, 500);
    assert!((10..500).all(|step_idx| schedule.at(step_idx + 1) < schedule.at(step_idx)));
}
