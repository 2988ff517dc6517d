//! Compiles the BPF objects and generates their typed skeletons.

use libbpf_cargo::SkeletonBuilder;
use std::{env, path::PathBuf};

fn main() {
    let arch = match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("x86_64") => "-D__TARGET_ARCH_x86",
        Ok("aarch64") => "-D__TARGET_ARCH_arm64",
        other => panic!("friday's BPF programs know x86_64 and aarch64, not {other:?}"),
    };
    for object in ["friday", "snapshot", "trial"] {
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join(format!("{object}.skel.rs"));
        SkeletonBuilder::new()
            .source(format!("bpf/{object}.bpf.c"))
            .clang_args([arch, "-Ibpf", "-mcpu=v3", "-Wall", "-Wno-unused-variable", "-Wno-unused-function"])
            .build_and_generate(&out)
            .unwrap_or_else(|error| panic!("the BPF object {object} does not build: {error:#}"));
    }
    for path in [
        "bpf",
        "src/sched",
        "src/cpu",
        "src/block",
        "src/syscalls",
        "src/process",
        "src/memory",
        "src/net",
        "src/requests",
        "src/goroutines",
    ] {
        println!("cargo::rerun-if-changed={path}");
    }
}
