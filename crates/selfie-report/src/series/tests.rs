use super::*;

#[test]
fn numbers_are_named_by_their_path_and_other_lines_are_passed_over() {
    let text = concat!(
        "{\"step\":1,\"loss\":1.5,\"time\":{\"images_per_s\":10.0}}\n",
        "not json\n",
        "[1, 2]\n",
        "{\"step\":1,\"probe/knn@20\":0.25,\"note\":\"words\"}\n",
        "{\"step\":2,\"loss\":1.25}\n",
        "{\"step\":3,\"loss\":1.0"
    );
    let series = Series::parse(text);
    assert_eq!(series.names(), ["loss", "time/images_per_s", "probe/knn@20"]);
    assert_eq!(series.get("loss"), [Point { step: 1, value: 1.5 }, Point { step: 2, value: 1.25 }]);
    assert_eq!(series.last("probe/knn@20"), Some(Point { step: 1, value: 0.25 }));
    assert_eq!(series.get("no such name"), []);
}
