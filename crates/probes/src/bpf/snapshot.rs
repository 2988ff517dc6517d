//! The iterator that shows what every task is doing at one moment; it attaches nothing.

use super::{message, refused, run_iterator, types};
use crate::roots::Roots;
use libbpf_rs::{
    MapCore, MapFlags,
    skel::{OpenSkel, SkelBuilder},
};
use observe::{Absent, Pid};
use std::{
    mem::{MaybeUninit, size_of},
    path::Path,
};

#[allow(warnings, clippy::all, missing_docs)]
mod skeleton {
    include!(concat!(env!("OUT_DIR"), "/snapshot.skel.rs"));
}

/// The loaded iterator.
pub(crate) struct Iterator(skeleton::SnapshotSkel<'static>);

impl Iterator {
    /// Loads it, for some processes or for all when none is given.
    pub fn load(roots: &Roots, wanted: &[Pid]) -> Result<Iterator, Absent> {
        message::listen();
        let failed = |what: &str, e: libbpf_rs::Error| Absent::Failed(format!("{what}: {e}"));
        let mut builder = skeleton::SnapshotSkelBuilder::default();
        if roots.btf != Path::new(Roots::KERNEL_BTF) {
            builder.obj_builder.btf_custom_path(&roots.btf).map_err(|e| failed("type information", e))?;
        }
        // The object lives as long as the process: the skeleton borrows its place.
        let place = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = builder.open(place).map_err(|e| failed("opening the BPF object", e))?;
        if let Some(settings) = open.maps.rodata_data.as_deref_mut() {
            settings.self_tgid = std::process::id();
            settings.named = u32::from(!wanted.is_empty());
            let known: &mut [skeleton::types::call_info] = &mut settings.calls;
            crate::syscalls::describe_with(known.len(), |number, info| {
                known[number] = skeleton::types::call_info {
                    kind: info.kind,
                    arg: info.arg,
                    counts: info.counts,
                    bytes: info.bytes,
                    poll: info.poll,
                };
            });
        }
        let loaded = open.load().map_err(|e| refused("loading the task iterator", &e))?;
        for pid in wanted {
            let _ = loaded.maps.wanted.update(&pid.0.to_ne_bytes(), &[1], MapFlags::ANY);
        }
        Ok(Iterator(loaded))
    }

    /// What every task does now.
    pub fn take(&self) -> Result<Vec<types::snapshot>, Absent> {
        let bytes = run_iterator(&self.0.progs.snapshot_task)?;
        Ok(bytes.chunks_exact(size_of::<types::snapshot>()).filter_map(super::plain).collect())
    }
}
