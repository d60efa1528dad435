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
