use super::*;

const GPU: Machine = Machine { nvidia_device: true, nvcc: true, macos: false };
const PLAIN: Machine = Machine { nvidia_device: false, nvcc: false, macos: false };
const MAC: Machine = Machine { nvidia_device: false, nvcc: false, macos: true };

fn request(device: Option<&str>) -> Request {
    Request { device: device.map(String::from), ..Request::default() }
}

fn features(request: &Request, machine: Machine) -> String {
    choose(request, machine).unwrap().features.join(",")
}

#[test]
fn the_machine_decides_when_no_device_is_named() {
    assert_eq!(features(&request(None), PLAIN), "");
    assert_eq!(features(&request(None), MAC), "metal");
    assert_eq!(features(&request(None), GPU), "cuda");
    assert_eq!(features(&request(Some("auto")), GPU), "cuda");
}

#[test]
fn a_gpu_without_nvcc_falls_back_to_the_cpu_and_says_why() {
    let choice = choose(&request(None), Machine { nvcc: false, ..GPU }).unwrap();
    assert_eq!(choice.backend, "cpu");
    assert!(choice.reason.contains("nvcc"), "{}", choice.reason);
}

#[test]
fn device_cpu_turns_every_backend_off() {
    assert_eq!(features(&request(Some("cpu")), GPU), "");
    assert_eq!(features(&request(Some("cpu")), MAC), "");
}

#[test]
fn a_named_device_that_cannot_be_built_is_an_error_that_names_it() {
    for (device, needs) in [("cuda", "nvcc"), ("cuda:1", "nvcc"), ("metal", "macOS")] {
        let error = choose(&request(Some(device)), PLAIN).unwrap_err().to_string();
        assert!(error.contains(device) && error.contains(needs), "{error}");
    }
}

#[test]
fn a_named_device_is_built_where_there_is_only_the_toolkit() {
    let build_machine = Machine { nvcc: true, ..PLAIN };
    assert_eq!(features(&request(None), build_machine), "");
    assert_eq!(features(&request(Some("cuda:1")), build_machine), "cuda");
}

#[test]
fn selfie_features_goes_before_everything_else() {
    let exactly = |features: &str| Request {
        features: Some(features.into()),
        hub: true,
        fetch: true,
        device: Some("metal".into()),
    };
    assert_eq!(features(&exactly("cuda, fetch"), PLAIN), "cuda,fetch");
    assert_eq!(choose(&exactly("cuda fetch"), PLAIN).unwrap().backend, "cuda");
    assert_eq!(features(&exactly(""), GPU), "");
}

#[test]
fn the_hub_is_turned_on_by_the_commands_that_need_it() {
    for needs in [
        "data fetch imagenet32",
        "-q data fetch imagenet224",
        "data fetch cifar10 --hub",
        "data import hub: --data-set imagenet32 --out x",
        "pretrain cifar10 --data hub:uoft-cs/cifar10",
        "pretrain cifar10 --data=hub:uoft-cs/cifar10",
        "pretrain cifar10 --hub",
        "push model me/net",
        "pull me/net --out model",
    ] {
        assert!(needs_hub(&needs.split(' ').collect::<Vec<_>>()), "{needs}");
    }
    for plain in [
        "data fetch cifar10",
        "data fetch imagenet32 --url http://a/b",
        "data info cifar10",
        "pretrain cifar10 --data fetch",
        "embed run push",
        "demo",
    ] {
        assert!(!needs_hub(&plain.split(' ').collect::<Vec<_>>()), "{plain}");
    }
    let hub = Request { hub: true, ..Request::default() };
    assert_eq!(features(&hub, GPU), "cuda,hub");
    assert!(needs_fetch(&["-q", "data", "fetch", "cifar10"]) && !needs_fetch(&["data", "info", "fetch"]));
    let fetch = Request { fetch: true, ..Request::default() };
    assert_eq!(features(&fetch, PLAIN), "fetch");
}

#[test]
fn an_option_is_read_in_both_spellings_and_the_last_one_counts() {
    assert_eq!(option(&["demo", "--device", "cpu"], "--device").as_deref(), Some("cpu"));
    assert_eq!(option(&["demo", "--device=cuda:1"], "--device").as_deref(), Some("cuda:1"));
    assert_eq!(option(&["--device=cuda", "demo", "--device", "cpu"], "--device").as_deref(), Some("cpu"));
    assert_eq!(option(&["demo", "--devices=cpu"], "--device"), None);
    assert_eq!(option(&["demo", "--device"], "--device"), None);
}
