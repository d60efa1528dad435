use std::time::{Duration, Instant};

use super::*;

#[test]
fn exit_codes_are_the_documented_ones() {
    assert_eq!(StopSignal::ALL.map(StopSignal::exit_code), [130, 143, 75, 129]);
}

/// One test for all signals: handlers and what they received are the process's, not the test's.
#[test]
fn a_received_signal_is_reported_and_does_not_end_the_process() {
    let signals = Signals::install().unwrap();
    assert_eq!(signals.received(), None);
    for signal in [StopSignal::Terminate, StopSignal::User1, StopSignal::Interrupt] {
        signal_hook::low_level::raise(signal.number()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while signals.received() != Some(signal) {
            assert!(Instant::now() < deadline, "{} was not reported", signal.name());
            std::thread::yield_now();
        }
    }
}

#[test]
fn an_ignored_hangup_is_seen_in_the_status_file() {
    assert_eq!(ignored_mask("Name:\tselfie\nSigIgn:\t0000000000000001\nSigCgt:\t0\n"), 1);
    assert_eq!(ignored_mask("Name:\tselfie\n"), 0);
}
