use super::results::best;
use super::*;
use selfie_eval::table::Trial;

#[test]
fn rates_are_written_to_three_digits() {
    assert_eq!([0.3, 1.0, 3.0].map(|factor| rounded(factor * 0.05)), [0.015, 0.05, 0.15]);
}

#[test]
fn the_best_of_the_trials_is_the_lowest_of_equal_ones_and_never_one_that_diverged() {
    let trial = |learning_rate, top1_accuracy| Trial { learning_rate, top1_accuracy };
    assert_eq!(best(&[trial(0.1, Some(0.4)), trial(0.2, Some(0.5)), trial(0.3, Some(0.5))]), Some(0.2));
    assert_eq!(best(&[trial(0.1, Some(0.4)), trial(0.2, None)]), Some(0.1));
    assert_eq!(best(&[trial(0.1, None)]), None);
}
