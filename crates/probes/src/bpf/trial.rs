//! Programs that are attached for a moment to see what of tracing works here.

use super::{message, plain, refused, run_iterator};
use crate::roots::Roots;
use libbpf_rs::{
    Link, RingBufferBuilder,
    skel::{OpenSkel, SkelBuilder},
};
use observe::Absent;
use std::{
    cell::Cell,
    fs,
    mem::{MaybeUninit, size_of},
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

#[allow(warnings, clippy::all, missing_docs)]
mod skeleton {
    include!(concat!(env!("OUT_DIR"), "/trial.skel.rs"));
}

/// ours: what has fired is in the ring buffer at once; this is for a machine that is very busy.
const PATIENCE: Duration = Duration::from_millis(100);

/// A kind of program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Kprobe,
    Fentry,
    Tracepoint,
    Uprobe,
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Kind::Kprobe => "trial_kprobe",
            Kind::Fentry => "trial_fentry",
            Kind::Tracepoint => "trial_tracepoint",
            Kind::Uprobe => "trial_uprobe",
        }
    }
}

/// A place in friday's own program: its file, and the offset in it.
pub(crate) struct Spot {
    pub(crate) file: std::path::PathBuf,
    pub(crate) offset: usize,
}

/// Attaches a program, has `provoke` make it fire, takes it off, and says whether it fired.
///
/// # Errors
/// Why it could not be loaded or attached.
pub(crate) fn fires(roots: &Roots, kind: Kind, spot: &Spot, provoke: impl Fn()) -> Result<bool, Absent> {
    let loaded = load(roots, kind.program())?;
    let progs = &loaded.progs;
    let failed = |e: libbpf_rs::Error| refused("attaching it", &e);
    let link: Link = match kind {
        Kind::Kprobe => progs.trial_kprobe.attach(),
        Kind::Fentry => progs.trial_fentry.attach_trace(),
        Kind::Tracepoint => progs.trial_tracepoint.attach_trace(),
        Kind::Uprobe => progs.trial_uprobe.attach_uprobe(false, std::process::id() as i32, &spot.file, spot.offset),
    }
    .map_err(failed)?;
    let told = Cell::new(false);
    let mut builder = RingBufferBuilder::new();
    let failed = |e: libbpf_rs::Error| refused("the ring buffer", &e);
    builder
        .add(&loaded.maps.fired, |bytes| {
            told.set(plain::<u32>(bytes) == Some(1));
            0
        })
        .map_err(failed)?;
    let ring = builder.build().map_err(failed)?;
    provoke();
    ring.poll(PATIENCE).map_err(failed)?;
    drop(ring);
    drop(link);
    Ok(told.get())
}

/// How many threads the task iterator sees.
///
/// # Errors
/// Why it could not be loaded or read.
pub(crate) fn tasks(roots: &Roots) -> Result<usize, Absent> {
    let loaded = load(roots, "trial_iterator")?;
    Ok(run_iterator(&loaded.progs.trial_iterator)?.len() / size_of::<u32>())
}

/// Loads the object with one of its programs.
fn load(roots: &Roots, wanted: &str) -> Result<skeleton::TrialSkel<'static>, Absent> {
    message::listen();
    let failed = |what: &str, e: libbpf_rs::Error| Absent::Failed(format!("{what}: {e}"));
    let mut builder = skeleton::TrialSkelBuilder::default();
    if roots.btf != Path::new(Roots::KERNEL_BTF) {
        builder.obj_builder.btf_custom_path(&roots.btf).map_err(|e| failed("type information", e))?;
    }
    // The object lives as long as the process: the skeleton borrows its place.
    let place = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open = builder.open(place).map_err(|e| failed("opening the BPF object", e))?;
    for mut program in open.open_object_mut().progs_mut() {
        let is_wanted = program.name() == wanted;
        program.set_autoload(is_wanted);
    }
    if let Some(settings) = open.maps.rodata_data.as_deref_mut() {
        settings.own_pid = std::process::id();
        if let Ok(namespace) = fs::metadata("/proc/self/ns/pid") {
            settings.namespace_device = namespace.dev();
            settings.namespace_inode = namespace.ino();
        }
    }
    open.load().map_err(|e| refused("loading it", &e))
}
