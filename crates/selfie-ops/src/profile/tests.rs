use super::*;

fn busy(ms: u64) {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(ms) {
        std::hint::spin_loop();
    }
}

fn row(rows: &[ProfileRow], class: OpClass) -> ProfileRow {
    *rows.iter().find(|row| row.class == class).unwrap()
}

#[test]
fn a_profile_adds_up_calls_time_operations_and_bytes_of_each_class() {
    let profile = Profile::new();
    profile.start();
    for _ in 0..3 {
        let _span = profile.span(OpClass::Norm, Work { flop: 10, bytes: 4 });
        busy(2);
    }
    drop(profile.span(OpClass::Pool, Work { flop: 1, bytes: 2 }));
    let rows = profile.finish();
    assert_eq!(rows.iter().map(|row| row.class).collect::<Vec<_>>(), [OpClass::Norm, OpClass::Pool]);
    assert_eq!((rows[0].calls, rows[0].flop, rows[0].bytes), (3, 30, 12));
    assert_eq!((rows[1].calls, rows[1].flop, rows[1].bytes), (1, 1, 2));
    assert!(rows[0].time >= Duration::from_millis(6), "{rows:?}");
}

#[test]
fn nothing_is_measured_before_the_start_and_after_the_finish() {
    let profile = Profile::new();
    drop(profile.span(OpClass::Loss, Work::default()));
    profile.start();
    assert!(profile.finish().is_empty());
    drop(profile.span(OpClass::Loss, Work::default()));
    assert!(profile.finish().is_empty());
}

#[test]
fn a_start_forgets_what_was_measured_before() {
    let profile = Profile::new();
    profile.start();
    drop(profile.span(OpClass::Loss, Work { flop: 7, bytes: 7 }));
    profile.start();
    drop(profile.span(OpClass::Loss, Work { flop: 1, bytes: 2 }));
    let rows = profile.finish();
    assert_eq!((rows[0].calls, rows[0].flop, rows[0].bytes), (1, 1, 2));
}

#[test]
fn spans_within_a_span_are_counted_once() {
    let profile = Profile::new();
    let begin = Instant::now();
    profile.start();
    {
        let _outer = profile.span(OpClass::ConvolutionForward, Work::default());
        for _ in 0..2 {
            let _inner = profile.span(OpClass::Norm, Work::default());
            busy(10);
        }
    }
    let rows = profile.finish();
    let (outer, inner) = (row(&rows, OpClass::ConvolutionForward).time, row(&rows, OpClass::Norm).time);
    assert!(inner >= Duration::from_millis(20), "{rows:?}");
    assert!(outer + inner <= begin.elapsed(), "{rows:?}");
}

#[test]
fn a_span_after_nested_ones_has_all_of_its_own_time() {
    let profile = Profile::new();
    profile.start();
    drop((profile.span(OpClass::Norm, Work::default()), busy(5)));
    {
        let _span = profile.span(OpClass::Pool, Work::default());
        busy(5);
    }
    assert!(row(&profile.finish(), OpClass::Pool).time >= Duration::from_millis(5));
}

#[test]
fn a_class_is_found_at_its_own_place_and_has_a_name_of_its_own() {
    let mut names = std::collections::BTreeSet::new();
    for (i, class) in OpClass::ALL.into_iter().enumerate() {
        assert_eq!(class as usize, i);
        names.insert(class.to_string());
    }
    assert_eq!(names.len(), OpClass::ALL.len());
}

#[test]
fn work_of_elements_counts_their_bytes() {
    assert_eq!(Work::elementwise::<f32>(10, 5, 4), Work { flop: 50, bytes: 160 });
    assert_eq!(Work::elementwise::<f64>(10, 5, 4), Work { flop: 50, bytes: 320 });
}
