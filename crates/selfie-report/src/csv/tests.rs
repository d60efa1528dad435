use super::*;

#[test]
fn lines_of_one_step_share_a_row_and_what_is_missing_is_empty() {
    let text = concat!(
        "{\"step\":1,\"loss\":1.5,\"lr\":0.1}\n",
        "{\"step\":1,\"probe/a,\\\"b\\\"\":0.25}\n",
        "{\"step\":2,\"loss\":1.25,\"time\":{\"step_s\":0.5}}\n"
    );
    let expected = "step,loss,lr,\"probe/a,\"\"b\"\"\",time/step_s\n1,1.5,0.1,0.25,\n2,1.25,,,0.5\n";
    assert_eq!(metrics(text), expected);
}

#[test]
fn no_metrics_are_a_header_alone() {
    assert_eq!(metrics(""), "step\n");
}
