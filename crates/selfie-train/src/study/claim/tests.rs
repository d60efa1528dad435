use super::*;

const PATIENCE: Patience = Patience(Duration::from_millis(300));

fn take(study: &Path, cell: &str) -> Option<Claim> {
    Claim::take(study, cell, PATIENCE).unwrap()
}

/// A claim of another machine, as it would have left it just now.
fn foreign(study: &Path, name: &str) {
    Files::disk().create_folder(&study.join(CLAIMS)).unwrap();
    fs::write(study.join(CLAIMS).join(name), "elsewhere 1234\n").unwrap();
}

#[test]
fn a_cell_has_one_holder_and_is_free_again_after_it() {
    let study = tempfile::tempdir().unwrap();
    let first = take(study.path(), "a").unwrap();
    assert!(take(study.path(), "a").is_none());
    assert!(take(study.path(), "b").is_some(), "another cell is free");
    drop(first);
    assert_eq!(Files::disk().names(&study.path().join(CLAIMS)).unwrap(), Vec::<String>::new());
    assert!(take(study.path(), "a").is_some());
}

#[test]
fn a_claim_whose_process_died_on_this_machine_is_taken_over_at_once() {
    let study = tempfile::tempdir().unwrap();
    Files::disk().create_folder(&study.path().join(CLAIMS)).unwrap();
    fs::write(study.path().join("claims/a.7"), machine()).unwrap();
    let claim = take(study.path(), "a").unwrap();
    assert_eq!(claim.place.generation, 8);
    drop(claim);
    assert_eq!(Files::disk().names(&study.path().join(CLAIMS)).unwrap(), Vec::<String>::new());
}

#[test]
fn a_claim_of_another_machine_is_taken_over_only_after_patience() {
    let study = tempfile::tempdir().unwrap();
    foreign(study.path(), "a.1");
    assert!(take(study.path(), "a").is_none());
    std::thread::sleep(2 * PATIENCE.0);
    assert!(take(study.path(), "a").is_some());
}

#[test]
fn a_holder_keeps_its_claim_fresh() {
    let study = tempfile::tempdir().unwrap();
    let _claim = take(study.path(), "a").unwrap();
    let path = study.path().join("claims/a.1");
    let before = modified(&path).unwrap();
    std::thread::sleep(2 * PATIENCE.0);
    assert!(modified(&path).unwrap() > before);
}

#[test]
fn a_holder_that_was_taken_for_dead_stops_its_run() {
    let study = tempfile::tempdir().unwrap();
    let claim = take(study.path(), "a").unwrap();
    let signals = Signals::install().unwrap();
    claim.stops(Some(signals.clone()));
    foreign(study.path(), "a.2");
    std::thread::sleep(2 * PATIENCE.0);
    assert_eq!(signals.received(), Some(StopSignal::Terminate));
    drop(claim);
    assert_eq!(Files::disk().names(&study.path().join(CLAIMS)).unwrap(), ["a.2"], "the new holder's claim stays");
}
