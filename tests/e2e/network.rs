//! No network: the system calls of whole runs have no socket among them.

use std::process::Command;

use crate::program::{Folder, red_bmp};

const SMALL: &str = "--set model.width=2 --set model.depths=[1,1,1,1] --set model.heads=2 --set model.ffn=8 \
    --set model.layers=1 --set batch=8 --set checkpoint.every_steps=4 --steps 8";

#[test]
fn no_command_opens_a_socket() {
    if !Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
        println!("skipped: there is no strace");
        return;
    }
    let folder = Folder::new();
    std::fs::write(folder.path("red.bmp"), red_bmp(32, 32)).unwrap();
    let small = [
        format!("pretrain shapes32 {SMALL}"),
        format!("finetune --fraction 0.05 {SMALL}"),
        "evaluate runs/finetune-shapes32-0.05-pretrained-s1".to_owned(),
        "predict runs/finetune-shapes32-0.05-pretrained-s1 red.bmp".to_owned(),
        "checkpoint verify runs/pretrain-shapes32-s1".to_owned(),
        "data info shapes32".to_owned(),
    ];
    // The whole demonstration takes minutes.
    let long = std::env::var_os("SELFIE_TORTURE").map(|_| "demo --seeds 1".to_owned());
    for arguments in small.into_iter().chain(long) {
        let plain = folder.command(&arguments);
        let mut traced = Command::new("strace");
        traced.args(["-f", "-qq", "-e", "trace=%network", "-o", "calls.txt"]);
        traced.arg(plain.get_program()).args(plain.get_args()).current_dir(plain.get_current_dir().unwrap());
        traced.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = traced.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("ptrace") {
            println!("skipped: this process may not trace: {said}");
            return;
        }
        assert!(output.status.success(), "{arguments}: {said}");
        let calls = String::from_utf8(folder.bytes("calls.txt")).unwrap();
        // A process that ends under strace leaves a line of no call.
        let calls: Vec<&str> = calls.lines().filter(|line| line.contains('(') && !line.contains("<detached")).collect();
        assert!(calls.is_empty(), "{arguments} makes network calls: {calls:#?}");
        println!("no socket: {arguments}");
    }
}
