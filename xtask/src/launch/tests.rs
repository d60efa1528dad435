use super::*;

/// A message of cargo 1.95, shortened.
fn artifact(kind: &str, name: &str, executable: &str) -> String {
    format!(
        r#"{{"reason":"compiler-artifact","package_id":"path+file:///x#selfie-cli@0.1.0","target":{{"kind":["{kind}"],"crate_types":["bin"],"name":"{name}","src_path":"/x/main.rs"}},"features":[],"filenames":["/t/selfie"],"executable":{executable},"fresh":true}}"#
    )
}

#[test]
fn the_binary_is_read_from_cargos_message() {
    let message = artifact("bin", "selfie", r#""/t/release/selfie""#);
    assert_eq!(executable_in(&message).as_deref(), Some("/t/release/selfie"));
}

#[test]
fn an_escaped_path_is_read_as_it_is_on_disk() {
    let message = artifact("bin", "selfie", r#""C:\\t\\a \"b\"\\caf\u00e9\/selfie.exe""#);
    assert_eq!(executable_in(&message).as_deref(), Some(r#"C:\t\a "b"\café/selfie.exe"#));
}

#[test]
fn other_messages_name_no_binary() {
    assert_eq!(executable_in(&artifact("bin", "other", r#""/t/other""#)), None);
    assert_eq!(executable_in(&artifact("custom-build", "selfie", r#""/t/build""#)), None);
    assert_eq!(executable_in(&artifact("bin", "selfie", "null")), None);
    assert_eq!(executable_in(r#"{"reason":"build-finished","success":true}"#), None);
}

#[test]
fn a_cut_off_string_is_no_string() {
    assert_eq!(json_string(r"/t/selfie"), None);
    assert_eq!(json_string(r#"a\u00zz""#), None);
}
