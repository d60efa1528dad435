use super::*;

#[test]
fn fields_are_read_from_proc_files() {
    let cpuinfo = "processor\t: 0\nmodel name\t: A: B @ 2 GHz\nprocessor\t: 1\nmodel name\t: other\n";
    assert_eq!(field(cpuinfo, "model name"), Some("A: B @ 2 GHz"));
    assert_eq!(field("MemTotal:       16316412 kB\n", "MemTotal").and_then(mebibytes), Some(15_933));
    assert_eq!(field("", "model name"), None);
}

#[test]
fn this_machine_has_a_core() {
    assert!(describe().n_cores >= 1);
}

#[test]
fn numbers_are_read_behind_any_program_name() {
    let stat = "42 (a) 1 (b) S 1 2 3 0 -1 4194560 1234 0 5 0 7 8 0 0 20 0";
    assert_eq!(stat_field(stat, MINOR_FAULTS), Some(1234));
    assert_eq!((stat_field(stat, USER_TICKS), stat_field(stat, SYSTEM_TICKS)), (Some(7), Some(8)));
    assert_eq!(stat_field("42 (a", MINOR_FAULTS), None);
}

#[test]
#[cfg(target_os = "linux")]
fn fresh_memory_costs_page_faults() {
    let before = page_faults().unwrap();
    let bytes = std::hint::black_box(vec![1u8; 64 << 20]);
    assert!(page_faults().unwrap() >= before + 16, "{} bytes were written", bytes.len());
}

#[test]
#[cfg(target_os = "linux")]
fn fresh_memory_is_anonymous_and_computing_takes_processor_time() {
    let (memory, seconds) = (anonymous_mib().unwrap(), cpu_seconds().unwrap());
    let bytes = std::hint::black_box(vec![1u8; 64 << 20]);
    assert!(anonymous_mib().unwrap() >= memory + 32, "{} bytes were written", bytes.len());
    while cpu_seconds().unwrap() < seconds + 0.02 {}
}
