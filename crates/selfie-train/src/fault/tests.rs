use super::spikes::Spike;
use super::*;

/// Losses that fall slowly and tremble.
fn losses(n: usize) -> impl Iterator<Item = f64> {
    (0..n).map(|i| 2.0 - 0.001 * i as f64 + 0.01 * ((i * 7) % 11) as f64)
}

#[test]
fn a_usual_loss_is_no_spike_and_a_jump_is_one() {
    let mut spikes = Spikes::default();
    assert!(losses(500).all(|loss| spikes.look(loss).is_none()));
    assert!(spikes.look(1.2).is_none(), "a fall is no spike");
    let Some(Spike { median, deviation }) = spikes.look(3.0) else { panic!("a jump is a spike") };
    assert!((1.4..1.7).contains(&median) && (0.0..0.1).contains(&deviation), "{median} {deviation}");
    assert!(spikes.look(1.5).is_none(), "one spike does not make the next loss one");
}

#[test]
fn the_first_losses_are_compared_with_nothing() {
    let mut spikes = Spikes::default();
    assert!([1.0, 100.0, 1.0, 1000.0].into_iter().all(|loss| spikes.look(loss).is_none()));
}

#[test]
fn a_resumed_watch_sees_what_the_first_one_saw() {
    let (all, mut first): (Vec<f64>, _) = (losses(300).collect(), Spikes::default());
    for loss in &all[..250] {
        let _ = first.look(*loss);
    }
    let mut resumed = Spikes::new(all[..250].iter().copied());
    for loss in [all[250], 2.5, all[251], 1.0, 9.0] {
        assert_eq!(resumed.look(loss), first.look(loss));
    }
}

#[test]
fn a_message_names_step_layer_and_the_first_examples() {
    let fault = |cause, layers: &[&str]| Fault {
        step: 7,
        cause,
        layers: layers.iter().map(|layer| (*layer).to_owned()).collect(),
        examples: (3..13).collect(),
    };
    let of = "is not finite at step 7, of training examples 3, 4, 5, 6, 7, 8, 9, 10, …";
    for (fault, place) in [
        (fault(Cause::Loss, &[]), "the loss"),
        (fault(Cause::Statistic, &["stages.0.bn1"]), "a batch statistic of `stages.0.bn1`"),
        (fault(Cause::Gradient, &["a", "b", "c"]), "the gradient of `a` and 2 more"),
        (fault(Cause::Parameter, &["a"]), "a parameter of `a`, since the update before,"),
    ] {
        assert_eq!(fault.to_string(), format!("{place} {of}"));
    }
}
