//! `embed`, `search`, `probe` and `show`.

use std::fs;

use serde_json::Value;

use crate::program::{Folder, Ran, red_bmp};

/// A pretraining run in `run`, and a folder of pictures of which one is none.
fn pretrained() -> Folder {
    let folder = Folder::new();
    folder.run("pretrain tiny.toml --data cifar --out run -q").ends_with(0);
    let pictures = folder.path("pictures");
    fs::create_dir_all(pictures.join("more")).unwrap();
    for (name, side) in [("b.bmp", 32), ("a.bmp", 40), ("more/c.bmp", 64)] {
        fs::write(pictures.join(name), red_bmp(side, side)).unwrap();
    }
    fs::write(pictures.join("bad.jpg"), b"no image").unwrap();
    folder
}

fn names(folder: &Folder, file: &str) -> Vec<Value> {
    let text = String::from_utf8(folder.bytes(file)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_folder_is_embedded_in_order_and_its_bad_images_are_listed() {
    let folder = pretrained();
    // What can be read is written; the code says that something could not, as `predict`'s does.
    let printed = folder.run("embed run pictures --out e.npy").ends_with(65);
    printed.prints(&[
        "3 embeddings of 32 numbers (stage3) in e.npy",
        "1 image cannot be read and was left out",
        "bad.jpg",
    ]);
    let npy = folder.bytes("e.npy");
    assert!(npy.starts_with(b"\x93NUMPY") && npy.len() == 256 + 3 * 32 * 4);
    let lines = names(&folder, "e.npy.names.jsonl");
    assert_eq!((&lines[0]["at"], &lines[0]["n_rows"]), (&Value::from("stage3"), &Value::from(3)));
    let found: Vec<&str> = lines[1..].iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(found, ["pictures/a.bmp", "pictures/b.bmp", "pictures/more/c.bmp"]);

    let missing = folder.run("embed run pictures/nothing.bmp --out other.npy").ends_with(66);
    missing.says(&["pictures/nothing.bmp: expected an image, a folder of images", "check the path"]);
    let json = folder.run("embed run pictures/b.bmp --out e.jsonl --at u --json -q").ends_with(0).json();
    assert_eq!((&json["n_rows"], &json["at"]), (&Value::from(1), &Value::from("u")));
    assert_eq!(names(&folder, "e.jsonl")[0]["embedding"].as_array().unwrap().len(), 32);
    assert!(!folder.exists("e.jsonl.names.jsonl"));
    let made = folder.run("embed run pictures/b.bmp --out new/deep/e.npy -q").ends_with(0);
    made.prints(&["1 embedding of 32 numbers"]);
    assert!(folder.exists("new/deep/e.npy") && folder.exists("new/deep/e.npy.names.jsonl"));
    let place = folder.run("embed run pictures/b.bmp --out other.npy --at stage9").ends_with(2);
    place.says(&["invalid value 'stage9' for '--at <AT>': expected one of stage1, stage2, stage3, stage4, h, u\n"]);
}

#[test]
fn a_query_finds_itself_first_and_a_sheet_is_drawn() {
    let folder = pretrained();
    folder.run("embed run --data-set cifar10 --data cifar --split test --out test.safetensors -q").ends_with(0);
    folder.run("embed run pictures --out e.safetensors -q").ends_with(65);
    let found = folder.run("search e.safetensors pictures/a.bmp --top 2 --sheet sheet.png --json").ends_with(0).json();
    assert_eq!(found["query"], "pictures/a.bmp");
    let nearest = found["nearest"].as_array().unwrap();
    assert_eq!(nearest.len(), 2);
    assert!((nearest[0]["cosine"].as_f64().unwrap() - 1.0).abs() < 1e-5);
    assert!(folder.bytes("sheet.png").starts_with(b"\x89PNG"));
    let found = folder.run("search test.safetensors pictures/a.bmp --top 3 --sheet test.png").ends_with(0);
    assert_eq!(found.stdout.lines().filter(|line| line.contains("test/")).count(), 3);

    let ended =
        folder.run("search e.safetensors pictures/a.bmp --weights run/checkpoints/step-00000015/weights.safetensors");
    ended.ends_with(2).says(&["expected the index's weights", "--weights"]);
    let sheet = folder.run("search e.safetensors pictures/a.bmp --json --sheet new/sheet.png").ends_with(0);
    let found = sheet.json();
    let cosines = found["nearest"].as_array().unwrap().iter().map(|near| near["cosine"].as_f64().unwrap());
    assert!(folder.exists("new/sheet.png") && cosines.clone().all(|cosine| cosine <= 1.0), "{found}");
    folder.run("data check --data cifar --sheet made/sheet.png").ends_with(0);
    assert!(folder.exists("made/sheet.png"));
    fs::remove_file(folder.path("e.safetensors.names.jsonl")).unwrap();
    folder.run("search e.safetensors pictures/a.bmp").ends_with(66).says(&["names.jsonl"]);
}

#[test]
fn a_search_goes_on_past_a_broken_query_and_works_from_another_folder() {
    let folder = pretrained();
    folder.run("embed run pictures --out e.npy -q").ends_with(65);
    let some = folder.run("search e.npy pictures --top 1 --json --sheet s.png").ends_with(65);
    let some = some.says(&["left out: pictures/bad.jpg: expected an image, got "]);
    let queries: Vec<Value> = some.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let queries: Vec<&Value> = queries.iter().map(|answer| &answer["query"]).collect();
    assert_eq!(queries, ["pictures/a.bmp", "pictures/b.bmp", "pictures/more/c.bmp"]);
    let none = folder.run("search e.npy pictures/bad.jpg --sheet none.png").ends_with(65).says(&["left out: "]);
    assert!(none.stdout.is_empty() && !folder.exists("none.png"));

    let elsewhere = "search ../e.npy a.bmp --top 1";
    let output = folder.command(elsewhere).current_dir(folder.path("pictures")).output().unwrap();
    Ran::new(elsewhere, &output).ends_with(0).prints(&["a.bmp"]);
}

#[test]
fn a_sheet_says_which_images_are_gone_and_names_its_flag_where_it_cannot_be_written() {
    let folder = pretrained();
    folder.run("embed run pictures --out e.npy -q").ends_with(65);
    fs::remove_file(folder.path("pictures/b.bmp")).unwrap();
    let gone = folder.run("search e.npy pictures/a.bmp --top 3 --sheet s.png").ends_with(0);
    gone.says(&["--sheet: 1 of 3 neighbours are grey", "the first is pictures/b.bmp"]);
    fs::create_dir(folder.path("folder.png")).unwrap();
    for command in ["search e.npy pictures/a.bmp", "data check --data cifar"] {
        let refused = folder.run(&format!("{command} --sheet folder.png")).ends_with(73);
        refused.says(&["cannot write folder.png: ", "; choose another --sheet"]);
        let refused = folder.run(&format!("{command} --sheet s.jpg")).ends_with(2);
        refused.says(&["invalid value 's.jpg' for '--sheet <FILE>': expected a name that ends in .png"]);
    }
    assert!(!folder.exists("s.jpg"));
}

#[test]
fn queries_are_embedded_in_the_number_type_of_the_index() {
    let folder = pretrained();
    folder.run("embed run pictures --dtype bf16 --out e.npy -q").ends_with(65);
    let cosine = || {
        let found = folder.run("search e.npy pictures/a.bmp --top 1 --json").ends_with(0).json();
        found["nearest"][0]["cosine"].as_f64().unwrap()
    };
    let same = cosine();
    assert!((same - 1.0).abs() < 1e-6, "{same}");
    let list = String::from_utf8(folder.bytes("e.npy.names.jsonl")).unwrap();
    fs::write(folder.path("e.npy.names.jsonl"), list.replacen(r#""dtype":"bf16","#, "", 1)).unwrap();
    let other = cosine();
    assert!(other < same, "a list of an older program has f32's: {other}, {same}");
}

#[test]
fn probes_measure_a_run_and_say_what_they_measured() {
    let folder = pretrained();
    let probed = folder.run("probe run --at stage3,h,u --k 1,5").ends_with(0);
    let probed = probed.prints(&[
        "the training set, each part in turn",
        "most frequent class: 10.00 %",
        "stage3",
        "linear layer",
        "5   neighbours",
        "±",
        "learning rates of the folds: ",
    ]);
    let rates = probed.stdout.split("folds: ").nth(1).unwrap().split(')').next().unwrap();
    assert_eq!(rates.split(", ").count(), 5, "one a fold: {rates}");
    let json = folder.run("probe run --test --json").ends_with(0).json();
    assert_eq!(json["measured_on"], "the test set");
    let place = &json["places"][0];
    assert_eq!((&place["n_fitted"], &place["n_measured"]), (&Value::from(100), &Value::from(20)));
    assert!((0.0..=1.0).contains(&place["linear"]["accuracy"].as_f64().unwrap()));
    folder.run("probe run --at stage4").ends_with(2).says(&["--at: ", "stage1, stage2, stage3, h, u", "stage4"]);

    let capped = folder.run("probe run --k 1,1000,2000").ends_with(0).prints(&["\n  80  neighbours"]);
    assert!(!capped.stdout.contains("1000"), "{}", capped.stdout);
    capped.says(&["--k: 1000, 2000 neighbours asked for, 80 have labels and all vote"]);
    for n_folds in [1, 101] {
        let refused = folder.run(&format!("probe run --folds {n_folds}")).ends_with(2);
        refused.says(&["--folds: expected 2 to 100, the number of training images", &format!("got {n_folds}")]);
    }
}

#[test]
fn a_probe_of_eight_images_counts_whole_images_and_says_that_none_is_a_test_image() {
    let folder = pretrained();
    for (class, image) in ["a", "b"].into_iter().flat_map(|class| (0..4).map(move |image| (class, image))) {
        fs::create_dir_all(folder.path(&format!("few/{class}"))).unwrap();
        fs::write(folder.path(&format!("few/{class}/{image}.bmp")), red_bmp(32 + image, 32)).unwrap();
    }
    let places = folder.run("probe run --data few --json").ends_with(0).json();
    let place = &places["places"][0];
    assert_eq!(place["n_measured"], 8);
    let knn = place["knn"].as_array().unwrap().iter().map(|knn| &knn["accuracy"]);
    for accuracy in knn.chain([&place["linear"]["accuracy"]]) {
        let n_right = 8.0 * accuracy.as_f64().unwrap();
        assert!((n_right - n_right.round()).abs() < 1e-9, "{n_right} of 8 images");
    }
    let none = folder.run("probe run --data few --test").ends_with(65);
    none.says(&["expected test images, got none", "put images of every class into `val`"]);
    folder.run("probe run --data few --fraction 0.5").ends_with(2).says(&["to hold out and measure", "--folds"]);
}

#[test]
fn a_pretraining_that_is_probed_computes_the_same_and_writes_what_was_found() {
    let folder = pretrained();
    folder.run("pretrain tiny.toml --data cifar --out probed -q --set probe.every_steps=8").ends_with(0);
    let log = String::from_utf8(folder.bytes("probed/train.log")).unwrap();
    for part in [" step 8: nearest neighbours 0.", ", linear probe 0.", " (chance 0.1", "participation ratio"] {
        assert!(log.contains(part), "no `{part}` in {log}");
    }
    assert_eq!(folder.bytes("run/weights.safetensors"), folder.bytes("probed/weights.safetensors"));
    let (plain, probed) = (folder.metrics("run"), folder.metrics("probed"));
    for (step, (plain, probed)) in plain.iter().zip(&probed).enumerate() {
        let mut without = probed.clone();
        let probe = without.as_object_mut().unwrap().remove("probe");
        assert_eq!(*plain, without);
        assert_eq!(probe.is_some(), (step + 1) % 8 == 0);
        if let Some(probe) = probe {
            assert_eq!(probe["chance"], 0.1);
            assert!(probe["knn_accuracy"].is_number() && probe["linear_accuracy"].is_number());
            assert!(probe["participation_ratio"].as_f64().unwrap() > 0.0);
        }
    }
    // A run may be probed more or less often when it goes on.
    folder.run("pretrain tiny.toml --data cifar --out late -q --stop-after 10").ends_with(0);
    folder.run("pretrain tiny.toml --data cifar --out late -q --set probe.every_steps=20").ends_with(0);
    assert_eq!(folder.bytes("run/weights.safetensors"), folder.bytes("late/weights.safetensors"));
}

#[test]
fn a_run_is_shown_in_seven_pictures() {
    let folder = pretrained();
    let shown = folder.run("show run --images 3 --map-images 60").ends_with(0);
    let names = ["attention", "filters", "map", "masked", "mistakes", "neighbours", "positions"];
    assert_eq!(folder.names("run/pictures"), names.map(|name| format!("{name}.png")));
    assert_eq!(shown.stdout.lines().count(), 7);
    assert!(!shown.stderr.contains("--map-images"), "{}", shown.stderr);
    let capped = folder.run("show run --map-images 200 --out more").ends_with(0);
    capped.says(&["--map-images: 200 asked for, 100 are there, of the training set"]);
    for name in names {
        assert!(folder.bytes(&format!("run/pictures/{name}.png")).starts_with(b"\x89PNG"));
    }
}

#[test]
fn a_run_is_exported_with_a_card_of_its_record_and_its_weights_load_again() {
    let folder = pretrained();
    let exported = folder.run("export run --out model --onnx --license mit --name net").ends_with(0);
    exported.prints(&["model.safetensors, resnet.safetensors, model.onnx, config.json, README.md"]);
    assert_eq!(folder.bytes("run/weights.safetensors"), folder.bytes("model/model.safetensors"));
    let card = String::from_utf8(folder.bytes("model/README.md")).unwrap();
    for part in [
        "---\nlibrary_name: selfie",
        "license: \"mit\"",
        "- uoft-cs/cifar10",
        "# net\n",
        "| recipe | tiny |",
        "| warm-up | 2 steps |",
        "- `model.safetensors`: the weights, under Selfie's own names",
        "- `resnet.safetensors`: stem and stages 1 to 3 alone, under the names of timm's `resnetv2_50`",
    ] {
        assert!(card.contains(part), "no `{part}` in {card}");
    }
    folder.run("embed model pictures/a.bmp --out again.npy -q").ends_with(0);
    let config: Value = serde_json::from_slice(&folder.bytes("model/config.json")).unwrap();
    assert_eq!((&config["num_classes"], &config["selfie"]["width"]), (&Value::from(0), &Value::from(2)));
    assert!(config.get("architecture").is_none(), "a network of this width is none of timm's");

    // A weights file that the record beside it does not know has no history.
    fs::copy(folder.path("run/checkpoints/step-00000015/weights.safetensors"), folder.path("run/other.safetensors"))
        .unwrap();
    // What an earlier export left, and what is nobody's export.
    folder.run("export run --out model").ends_with(0).says(&[
        "removed model/model.onnx, of an earlier export; --onnx keeps it",
        "replaced model/README.md",
        "the licence `mit` of the earlier export is gone; --license 'mit' keeps it",
        "the name `net` of the earlier export is gone; --name 'net' keeps it",
    ]);
    let spaced = folder.command("export run --out spaced").args(["--license", "foo bar"]).output().unwrap();
    Ran::new("export --license", &spaced)
        .ends_with(2)
        .says(&["'foo bar' for '--license <LICENSE>': expected a licence"]);
    assert!(!folder.exists("model/model.onnx"));
    // Onto itself nothing is lost.
    folder.run("export model --out model").ends_with(0);
    assert_eq!(folder.bytes("run/weights.safetensors"), folder.bytes("model/model.safetensors"));
    folder.run("export run --out pictures").ends_with(73).says(&["pictures holds other files", "another --out"]);
    assert!(!folder.exists("pictures/model.safetensors"));

    // Neither another network's weights nor a card with words of the user's go without being told to.
    folder.run("export run --out model").ends_with(0);
    let whole = folder.bytes("model/README.md");
    let another = "export run/other.safetensors --out model";
    let refused = folder.run(another).ends_with(73);
    refused
        .says(&["model/model.safetensors is of another network; choose another --out, or replace it with --replace"]);
    fs::write(folder.path("model/README.md"), "My words.").unwrap();
    folder.run("export run --out model").ends_with(73).says(&["model/README.md was changed since it was exported"]);
    assert_eq!(folder.bytes("model/README.md"), b"My words.");
    let replaced = folder.run("export run --out model --replace").ends_with(0);
    replaced.says(&["replaced model/README.md"]);
    assert!(folder.bytes("model/README.md") == whole);
    folder.run(&format!("{another} --replace")).ends_with(0).says(&["replaced model/model.safetensors"]);

    folder.run("export run/other.safetensors --out other").ends_with(0);
    assert!(String::from_utf8(folder.bytes("other/README.md")).unwrap().contains("## Training\n\nUnknown."));
}

#[test]
fn a_classifiers_card_says_whose_names_its_weights_have() {
    let folder = Folder::new();
    let tune = "finetune tiny.toml --data cifar --from scratch --fraction 0.5 --steps 2 -q";
    folder.run(&format!("{tune} --out whole")).ends_with(0);
    folder.run("export whole --out whole-model --onnx").ends_with(0);
    let card = String::from_utf8(folder.bytes("whole-model/README.md")).unwrap();
    assert!(card.contains("- `model.safetensors`: the weights, under the names of timm's `resnetv2_50`"), "{card}");
    assert!(!folder.exists("whole-model/resnet.safetensors"), "it is a whole network already");
    assert!(card.contains("to the outputs `embedding` and `logits`, for any runtime"), "{card}");
    let shown = folder.run("show whole --images 2 --map-images 20 --out pictures").ends_with(0);
    assert_eq!(shown.says(&["of a pretraining network alone"]).stdout.lines().count(), 3);

    for kind in ["attention_pooling", "patch_network"] {
        folder.run(&format!("{tune} --set classifier={kind} --out {kind}")).ends_with(0);
        folder.run(&format!("export {kind} --out {kind}-model")).ends_with(0);
        let card = String::from_utf8(folder.bytes(&format!("{kind}-model/README.md"))).unwrap();
        assert!(card.contains("- `model.safetensors`: the weights, under Selfie's own names"), "{card}");
        assert!(folder.json(&format!("{kind}-model/config.json")).get("architecture").is_none());
        let refused = folder.run(&format!("export {kind} --out {kind}-model --onnx")).ends_with(78);
        refused.says(&["`kind`: expected stage4", &format!("got {kind}")]);
    }
}

#[test]
#[cfg(not(feature = "hub"))]
fn push_and_pull_say_how_to_build_the_program_that_has_them() {
    let folder = Folder::new();
    let how = "feature `hub`: expected a program built with it, got one without; build it: cargo build --release -p selfie-cli --features hub";
    for command in [
        "push model me/net",
        "pull me/net --out model",
        "pretrain tiny.toml --data hub: --out run",
        "pretrain --data hub:cifar10",
        "pretrain cifar10 --data hub:cifar10",
    ] {
        folder.run(command).ends_with(66).says(&[how]);
    }
}
