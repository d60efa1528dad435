use super::*;
use crate::DataErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};

fn slow_when_even(step: u64) -> Result<u64, DataError> {
    if step.is_multiple_of(2) {
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(step * step)
}

#[test]
fn batches_come_in_the_order_of_the_steps() {
    for workers in [0, 1, 4] {
        for queue in [0, 1, 3, 100] {
            let loader = Loader::new(slow_when_even, 5..25, workers, queue);
            let squares: Vec<u64> = loader.map(Result::unwrap).collect();
            assert!(squares.into_iter().eq((5..25).map(|step| step * step)), "{workers} workers, queue {queue}");
        }
    }
}

#[test]
fn the_queue_is_bounded() {
    let begun = Arc::new(AtomicUsize::new(0));
    let count = begun.clone();
    let source = move |step| {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(step)
    };
    let mut loader = Loader::new(source, 0..100, 4, 3);
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(begun.load(Ordering::SeqCst), 3);
    loader.next_batch().unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(begun.load(Ordering::SeqCst), 4);
}

#[test]
fn an_error_comes_in_its_place_and_ends_the_loader() {
    for workers in [0, 1, 4] {
        let source = |step| {
            if step == 3 { Err(DataError::setting("x", "y", "z")) } else { Ok(step) }
        };
        let mut loader = Loader::new(source, 0..10, workers, 4);
        for step in 0..3 {
            assert_eq!(loader.next_batch().unwrap().unwrap(), step);
        }
        let kind = loader.next_batch().unwrap().map_err(|error| error.kind());
        assert_eq!(kind, Err(DataErrorKind::Configuration));
        assert!(loader.next_batch().is_none());
    }
}

#[test]
fn a_panic_of_the_source_arrives_as_an_error_with_its_message() {
    for workers in [0, 2] {
        let mut loader: Loader<()> = Loader::new(|step| panic!("step {step} is bad"), 7..9, workers, 4);
        let error = loader.next_batch().unwrap().unwrap_err();
        assert_eq!(error.kind(), DataErrorKind::Internal);
        assert!(error.to_string().contains("step 7 is bad"), "{error}");
    }
}

#[test]
fn dropping_the_loader_ends_its_threads() {
    let alive = Arc::new(());
    let held = alive.clone();
    let source = move |step| {
        let _held = &held;
        slow_when_even(step)
    };
    let mut loader = Loader::new(source, 0..u64::MAX, 4, 2);
    loader.next_batch().unwrap().unwrap();
    assert_eq!(Arc::strong_count(&alive), 2);
    drop(loader);
    assert_eq!(Arc::strong_count(&alive), 1, "a thread still holds the source");
}

#[test]
fn waiting_is_counted() {
    let source = |step| {
        std::thread::sleep(Duration::from_millis(5));
        Ok(step)
    };
    for workers in [0, 1] {
        let mut loader = Loader::new(source, 0..3, workers, 1);
        loader.next_batch().unwrap().unwrap();
        assert!(loader.waited() >= Duration::from_millis(3), "{workers} workers: {:?}", loader.waited());
    }
    let mut loader = Loader::new(Ok, 0..1, 1, 1);
    std::thread::sleep(Duration::from_millis(30));
    loader.next_batch().unwrap().unwrap();
    assert!(loader.waited() < Duration::from_millis(20), "the batch was ready: {:?}", loader.waited());
}
