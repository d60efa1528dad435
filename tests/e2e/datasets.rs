//! Folders of images, the prepared form, and files that are no images.

use std::fs;

use crate::program::{Folder, red_bmp};

/// `pictures/` with two classes of forty images, the `bad`-th of each no image.
fn with_pictures(bad: Option<usize>) -> Folder {
    let folder = Folder::new();
    for (class_idx, class) in ["cat", "dog"].into_iter().enumerate() {
        fs::create_dir_all(folder.path(&format!("pictures/{class}"))).unwrap();
        for i in 0..40 {
            let mut bytes = red_bmp(40, 36);
            // Every image differs from the others.
            bytes[54 + class_idx] = i as u8;
            if bad == Some(i) {
                bytes.truncate(30);
            }
            fs::write(folder.path(&format!("pictures/{class}/{i:02}.bmp")), bytes).unwrap();
        }
    }
    folder
}

const SET: &str = "--set data.set=imagenet32";

#[test]
fn a_folder_of_images_is_trained_on_from_its_files_and_from_its_prepared_form() {
    let folder = with_pictures(None);
    let pretrain = format!("pretrain tiny.toml {SET} --steps 3");
    folder.run(&format!("{pretrain} --data pictures --out of-files")).ends_with(0);
    folder.run("data import pictures --out prepared -q").ends_with(0).prints(&["72 training and 8 test images"]);
    folder.run(&format!("{pretrain} --data prepared --out of-pixels")).ends_with(0);
    // The mean and so the weights are the same, whichever form was read.
    assert!(folder.bytes("of-files/weights.safetensors") == folder.bytes("of-pixels/weights.safetensors"));

    folder.run("data check --data prepared --sheet sheet.png").ends_with(0).prints(&["0 images cannot be used"]);
    assert!(folder.bytes("sheet.png").starts_with(b"\x89PNG"));
    folder.run("data info --data pictures").ends_with(0).prints(&["cat 36, dog 36", "72 of 32 × 32"]);
    let tuned = folder.run("finetune --from of-pixels --fraction 0.5 --steps 2 --out tuned").ends_with(0);
    tuned.prints(&["test accuracy", "of 8 images"]);
    folder.run("evaluate tuned").ends_with(0).prints(&["of 8 images", "cat", "dog"]);
    folder.run("data import pictures --out prepared").ends_with(73).says(&["prepared", "remove it"]);
}

#[test]
fn without_a_recipe_the_images_choose_it_and_a_dry_run_says_what_it_takes() {
    let folder = with_pictures(None);
    let dry = folder.run("pretrain --data pictures --dry-run").ends_with(0);
    let dry = dry.says(&["80 image files, 2 classes", "about 36 pixels", "recipe imagenet32", "3 × 3 stem"]);
    dry.prints(&["72", "16 an image, 4 hidden", "memory", "time"]);
    folder.run("pretrain --data cifar --dry-run").ends_with(0).says(&["the files of cifar10: recipe cifar10"]);
    folder.run("pretrain").ends_with(2).says(&["RECIPE", "--data"]);
    folder.run("pretrain --data nowhere").ends_with(66).says(&["nowhere"]);
    let tuned = folder.run("finetune --data pictures --from scratch --fraction 0.5 --dry-run").ends_with(0);
    tuned.says(&["recipe imagenet32"]).prints(&["examples  36"]);
    let study = folder.run("study --data pictures --fractions 0.5 --seeds 2 --dry-run").ends_with(0);
    study.says(&["recipe imagenet32"]).prints(&["recipe    imagenet32", "pretrainings: 1"]);
    folder.run("study --fractions 0.5").ends_with(2).says(&["RECIPE", "--data", "--from"]);
}

#[test]
fn runs_on_two_folders_are_two_runs() {
    let folder = with_pictures(None);
    for class in ["cat", "dog"] {
        fs::create_dir_all(folder.path(&format!("fewer/{class}"))).unwrap();
        for i in 0..20 {
            let name = format!("{class}/{i:02}.bmp");
            fs::copy(folder.path(&format!("pictures/{name}")), folder.path(&format!("fewer/{name}"))).unwrap();
        }
    }
    let pretrain = format!("pretrain tiny.toml {SET} --steps 2 --data");
    let tune = "finetune --fraction 0.5 --steps 4";
    folder.run(&format!("{pretrain} pictures")).ends_with(0);
    folder.run(&format!("{tune} --stop-after 2")).ends_with(0);
    folder.run(&format!("{pretrain} fewer")).ends_with(0);
    for name in ["pictures", "fewer"] {
        assert!(folder.exists(&format!("runs/pretrain-tiny-{name}-s1/weights.safetensors")));
    }
    // What was begun goes on, and then the newest pretraining's turn has come.
    folder.run(tune).ends_with(0).says(&["resuming runs/finetune-tiny-pictures-0.5-pretrained-s1 after step 2"]);
    folder.run(tune).ends_with(0).says(&["from runs/pretrain-tiny-fewer-s1/weights.safetensors"]);

    folder.run("report runs").ends_with(0).prints(&["runs/report.html"]);
    let page = String::from_utf8(folder.bytes("runs/report.html")).unwrap();
    for run in ["pretrain-tiny-pictures-s1", "pretrain-tiny-fewer-s1", "finetune-tiny-pictures-0.5-pretrained-s1"] {
        assert!(page.contains(run), "{run} is not on the page");
    }
    let dry = folder.run(&format!("{pretrain} fewer --out new --dry-run")).ends_with(0);
    dry.prints(&["recipe    tiny on fewer"]);

    let mixed = folder.run(&format!("{pretrain} fewer --out runs/pretrain-tiny-pictures-s1"));
    mixed.ends_with(78).says(&["data.train: was", "/pictures (", "now", "/fewer ("]);
}

#[test]
fn what_is_passed_over_and_what_does_not_fit_is_said() {
    let folder = with_pictures(None);
    fs::write(folder.path("pictures/notes.pdf"), "no picture").unwrap();
    folder.run(&format!("pretrain tiny.toml {SET} --steps 2 --data pictures --out run")).ends_with(0);
    // Weights from elsewhere bring their network, and the images the recipe.
    folder.run("export run --out exported").ends_with(0);
    let tune = "finetune --from exported --data pictures --fraction 0.5 --steps 2 --set batch=4 --out tuned";
    folder.run(tune).ends_with(0).says(&["recipe imagenet32", "tensors loaded"]);
    assert_eq!(folder.json("tuned/run.json")["config"]["model"]["width"], 2);

    let embedded = folder.run("embed run pictures --out all.jsonl").ends_with(0);
    embedded.says(&["1 other file passed over, no JPEG, PNG, WebP or BMP by name"]);
    folder.run("search all.jsonl pictures/cat").ends_with(2).says(&["all.jsonl", ".npy or .safetensors"]);

    fs::create_dir_all(folder.path("split/train")).unwrap();
    fs::rename(folder.path("pictures/cat"), folder.path("split/train/cat")).unwrap();
    fs::create_dir_all(folder.path("split/val")).unwrap();
    fs::rename(folder.path("pictures/dog"), folder.path("split/val/dog")).unwrap();
    let misfit = folder.run("data check --data split").ends_with(65);
    misfit.says(&["split/val", "`dog`, which `train` has not", "rename or move it"]);
    let sheet = folder.run("data check --data split/train --sheet tiny.toml/sheet.png").ends_with(73);
    sheet.says(&["tiny.toml/sheet.png", "choose another --sheet"]);
}

#[test]
fn files_that_are_no_images_are_listed_once_and_replaced_the_same_after_a_resume() {
    let folder = with_pictures(Some(7));
    let pretrain = format!("pretrain tiny.toml {SET} --steps 30 --data pictures --set loader.max_bad_share=0.1");
    folder.run(&format!("{pretrain} --out whole")).ends_with(0).says(&["07.bmp: cannot be used"]);
    folder.run(&format!("{pretrain} --out parts --stop-after 11")).ends_with(0);
    folder.run(&format!("{pretrain} --out parts --set loader.workers=3")).ends_with(0);
    folder.require_same("whole", "parts");
    let listed = String::from_utf8(folder.bytes("parts/bad_samples.jsonl")).unwrap();
    assert_eq!(listed.lines().count(), 2, "{listed}");

    let strict = format!("pretrain tiny.toml {SET} --steps 30 --data pictures --set loader.max_bad_share=0");
    folder.run(&format!("{strict} --out strict")).ends_with(65).says(&["07.bmp", "cannot be read", "data check"]);
    let check = folder.run("data check --data pictures").ends_with(65);
    check.prints(&["train: 70 images, 1 duplicate,", "cat 35, dog 35", "2 images cannot be used", "cat/07.bmp"]);
    folder.run("data import pictures --out strict-set --max-bad-share 0").ends_with(65).says(&["data check"]);
    assert!(!folder.exists("strict-set"));
    // Whatever can be read is made, and the code says that something could not.
    let some = folder.run("data import pictures --out some --max-bad-share 0.1 -q").ends_with(65);
    some.prints(&["training and ", " in some", "cat/07.bmp"]);
    folder.run("data info --data some").ends_with(0).says(&["a prepared set of "]);
}

#[test]
fn a_table_of_labels_and_a_zip_are_told_what_to_make_of_them() {
    let folder = Folder::new();
    for (file, hint) in [("labels.csv", "a line `path<TAB>class` for each image"), ("photos.ZIP", "unpack it and give")]
    {
        fs::write(folder.path(file), "name,class\na.bmp,cat\n").unwrap();
        let refused = folder.run(&format!("pretrain --data {file}")).ends_with(65);
        refused.says(&[&format!("{file}: expected a folder, a list file (.txt, .tsv)"), hint]);
    }
}

#[test]
fn a_run_that_saved_nothing_begins_again_once_its_bad_images_are_gone() {
    let folder = with_pictures(Some(7));
    let keys = "--set loader.max_bad_share=0 --set checkpoint.every_steps=1000";
    let pretrain = format!("pretrain tiny.toml {SET} --steps 30 --data pictures {keys} --out run");
    folder.run(&pretrain).ends_with(65);
    let log = String::from_utf8(folder.bytes("run/train.log")).unwrap();
    let last = log.lines().last().unwrap();
    assert!(last.contains(" ended by an error: ") && last.contains("07.bmp"), "{log}");
    for class in ["cat", "dog"] {
        fs::remove_file(folder.path(&format!("pictures/{class}/07.bmp"))).unwrap();
    }
    folder.run(&pretrain).ends_with(0);
    assert!(!folder.exists("run/bad_samples.jsonl"));
    let log = String::from_utf8(folder.bytes("run/train.log")).unwrap();
    assert!(log.ends_with(" finished\n"), "{log}");
}

#[test]
fn classes_too_small_for_test_images_are_refused_before_the_first_step() {
    let folder = with_pictures(None);
    for class in ["cat", "dog"] {
        (4..40).for_each(|i| fs::remove_file(folder.path(&format!("pictures/{class}/{i:02}.bmp"))).unwrap());
    }
    let finetune = format!("finetune tiny.toml {SET} --data pictures --from scratch --fraction 1 --steps 2 --out run");
    for command in [finetune.clone(), format!("{finetune} --dry-run")] {
        folder.run(&command).ends_with(65).says(&["expected test images, got none", "no class has 5 images", "`val`"]);
    }
    let validation = folder.run(&format!("{finetune} --validate")).ends_with(78);
    validation.says(&["validation images: expected 5 training images or more of a class", "got at most 4 of a class"]);
    let study = format!("study tiny.toml {SET} --data pictures --fractions 0.5 --seeds 2 --out run");
    folder.run(&study).ends_with(65).says(&["expected test images"]);
    assert!(!folder.exists("run"));
    folder.run(&format!("pretrain tiny.toml {SET} --data pictures --steps 2 --out run")).ends_with(0);
}

#[test]
fn images_without_labels_are_pretrained_on_and_cannot_be_classified() {
    let folder = Folder::new();
    fs::create_dir(folder.path("loose")).unwrap();
    for i in 0..12 {
        fs::write(folder.path(&format!("loose/{i}.bmp")), red_bmp(32 + i, 32)).unwrap();
    }
    folder.run(&format!("pretrain tiny.toml {SET} --steps 2 --data loose --out run")).ends_with(0);
    let tuned = folder.run("finetune --from run --fraction 0.5 --steps 2 --out tuned").ends_with(65);
    tuned.says(&["got images without labels", "one folder a class"]);
    assert!(!folder.exists("tuned"));
    folder.run("data check --data loose").ends_with(0).says(&["no classes"]).prints(&["classes  none"]);
}

#[test]
fn one_class_is_called_by_its_name_wherever_more_are_needed() {
    let folder = with_pictures(None);
    fs::create_dir(folder.path("one")).unwrap();
    fs::rename(folder.path("pictures/dog"), folder.path("one/dog")).unwrap();
    let check = folder.run("data check --data one").ends_with(0);
    check.says(&["one class (dog)"]).prints(&["classes  dog 40", "test: 0 images", "classes  none"]);
    let tuned = folder.run(&format!("finetune tiny.toml {SET} --data one --from scratch --fraction 0.5 --out tuned"));
    tuned.ends_with(65).says(&["expected images of at least two classes, got one class (dog)"]);
    folder.run("finetune tiny.toml --data cifar --from scratch --fraction 0.5 --steps 2 --out tuned").ends_with(0);
    let other = folder.run("evaluate tuned --data one").ends_with(2);
    other.says(&[
        "--data or --data-set: expected a data set of the network's classes, airplane, ",
        "; got one class (dog)",
    ]);
}

#[test]
fn one_image_is_no_data_set_and_a_mistyped_folder_is_guessed() {
    let folder = with_pictures(None);
    for recipe in ["", "tiny.toml", "imagenet32"] {
        let one = folder.run(&format!("pretrain {recipe} --data pictures/cat/00.bmp")).ends_with(65);
        one.says(&["pictures/cat/00.bmp: expected a folder, a list file", "got one image", "give the folder"]);
    }
    let near = folder.run(&format!("pretrain tiny.toml {SET} --data picture")).ends_with(66);
    near.says(&["expected it in picture", "did you mean pictures?"]);
    folder.run("pretrain --data pictures/cta").ends_with(66).says(&["did you mean pictures/cat?"]);
    let far = folder.run(&format!("pretrain tiny.toml {SET} --data nothing")).ends_with(66);
    assert!(!far.stderr.contains("did you mean"), "{}", far.stderr);
    // What was not typed is not guessed at.
    fs::create_dir_all(folder.path("data/cifar1")).unwrap();
    let default = folder.run("pretrain tiny.toml").ends_with(66);
    assert!(!default.stderr.contains("did you mean"), "{}", default.stderr);
}

#[test]
fn splits_in_capitals_are_splits() {
    let folder = with_pictures(None);
    fs::create_dir_all(folder.path("upper/Val")).unwrap();
    fs::create_dir_all(folder.path("upper/Val/cat")).unwrap();
    fs::rename(folder.path("pictures/cat/00.bmp"), folder.path("upper/Val/cat/00.bmp")).unwrap();
    fs::rename(folder.path("pictures"), folder.path("upper/TRAIN")).unwrap();
    let info = folder.run("data info --data upper").ends_with(0);
    info.says(&["2 classes"]).prints(&["cat 39, dog 40", "cat 1"]);
}

#[test]
fn a_users_own_subset_is_checked_recorded_and_trained_on_and_a_runs_own_is_written() {
    let folder = Folder::new();
    let finetune = "finetune tiny.toml --data cifar --from scratch --steps 2";
    folder.run(&format!("{finetune} --fraction 0.5 --out drawn")).ends_with(0);
    let drawn = folder.json("drawn/run.json");
    assert_eq!(drawn["data_name"], "cifar10");
    // The file that a run wrote makes the same run.
    fs::copy(folder.path("drawn/subset.txt"), folder.path("again.txt")).unwrap();
    folder.run(&format!("{finetune} --subset again.txt --out again")).ends_with(0);
    let again = folder.json("again/run.json");
    assert_eq!((&again["subset_hash"], &again["fraction"]), (&drawn["subset_hash"], &drawn["fraction"]));
    assert!(folder.bytes("drawn/weights.safetensors") == folder.bytes("again/weights.safetensors"));

    fs::write(folder.path("own.txt"), "3\n1\n# and no more\n7\n").unwrap();
    folder.run(&format!("{finetune} --subset own.txt --dry-run")).ends_with(0);
    let own = folder.run(&format!("{finetune} --subset own.txt")).ends_with(0);
    own.says(&["no labelled image of airplane, bird, deer,"]);
    let name = folder.names("runs").into_iter().find(|name| name.contains("-subset-")).unwrap();
    assert!(name.starts_with("finetune-tiny-subset-") && name.ends_with("-scratch-s1"), "{name}");
    let written = String::from_utf8(folder.bytes(&format!("runs/{name}/subset.txt"))).unwrap();
    assert!(written.ends_with("\n1\n3\n7\n"), "{written}");

    let refused = |text: &str, code, parts: &[&str]| {
        fs::write(folder.path("wrong.txt"), text).unwrap();
        folder.run(&format!("{finetune} --subset wrong.txt --out wrong")).ends_with(code).says(parts);
        assert!(!folder.exists("wrong"));
    };
    refused("1\n1000000\n", 65, &["wrong.txt: line 2", "the number of a training example", "1000000"]);
    refused("1\n2\n1\n", 65, &["line 3", "every example once"]);
    refused("# train 00\n1\n", 65, &["one of this training set", "got one of 00"]);
    folder.run(&format!("{finetune} --subset nowhere.txt")).ends_with(66);
    folder.run(&format!("{finetune} --subset own.txt --fraction 0.5")).ends_with(2);
    folder.run(finetune).ends_with(2).says(&["--fraction"]);
}

#[test]
fn a_folder_goes_by_its_own_name_in_the_record() {
    let folder = with_pictures(None);
    folder.run(&format!("pretrain tiny.toml {SET} --steps 2 --data pictures --out run")).ends_with(0);
    assert_eq!(folder.json("run/run.json")["data_name"], "pictures");
    folder.run("data import pictures --out my-birds -q").ends_with(0);
    folder.run("data info --data my-birds").ends_with(0).prints(&["my-birds"]);
}

#[test]
fn without_network_code_fetching_says_what_to_build() {
    if cfg!(feature = "fetch") {
        return;
    }
    let folder = Folder::new();
    folder.run("data fetch cifar10").ends_with(66).says(&["--features fetch"]);
    folder.run("data fetch cifar10 --checksum md5:00").ends_with(2);
}

/// As a user who may not read everything, whoever runs the tests.
#[cfg(unix)]
#[test]
fn files_that_this_user_may_not_read_are_listed_like_others_that_are_no_images() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    /// `nobody` of most systems.
    const NOBODY: u32 = 65_534;
    let folder = with_pictures(None);
    let mode = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&folder.path("."), 0o755);
    for name in ["cat/03.bmp", "dog/39.bmp"] {
        mode(&folder.path(&format!("pictures/{name}")), 0o000);
    }
    // The tests' own build may lie where nobody else may look. Copied by a process of its own: what this one has open for
    // writing, a process that another test starts in the meantime has open too, and cannot be run.
    let program = folder.path("selfie");
    let copied =
        std::process::Command::new("cp").args([env!("CARGO_BIN_EXE_selfie").as_ref(), program.as_path()]).status();
    assert!(copied.unwrap().success());
    mode(&program, 0o755);
    let mut command = std::process::Command::new(&program);
    command.args(["data", "check", "--data", "pictures"]).current_dir(folder.path("."));
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let ran = crate::program::Ran::new("data check as nobody", &command.output().unwrap()).ends_with(65);
    ran.prints(&["2 images cannot be used", "cat/03.bmp", "dog/39.bmp", "cannot be read (Permission denied"]);
}

#[test]
fn an_image_beside_the_class_folders_is_named_where_labels_are_asked_for() {
    let folder = Folder::new();
    for (class, n) in [("a", 12), ("b", 12)] {
        fs::create_dir_all(folder.path(&format!("photos/{class}"))).unwrap();
        for i in 0..n {
            fs::write(folder.path(&format!("photos/{class}/{i}.bmp")), red_bmp(32 + i, 32)).unwrap();
        }
    }
    let tune = "finetune tiny.toml --data photos --from scratch --fraction 0.5 --steps 2 --out";
    folder.run(&format!("{tune} labelled")).ends_with(0);
    fs::write(folder.path("photos/cover.jpg"), red_bmp(32, 32)).unwrap();
    let why = "photos/cover.jpg lies beside the folders, which are no classes therefore";
    let refused = folder.run(&format!("{tune} refused")).ends_with(65);
    refused.says(&["expected images of at least two classes", why, "move it away or into one of them"]);
    folder.run("data check --data photos").ends_with(0).says(&["25 image files, no classes", why]);
    folder.run("data import photos --out prepared").ends_with(0).prints(&[why]);
}
