//! Opening and loading the BPF object: what this kernel refuses is left out, with the reason.

use super::{
    Group, Settings,
    message::refused_program,
    skeleton::{FridaySkel, FridaySkelBuilder, OpenFridaySkel},
};
use crate::{roots::Roots, session::Tier};
use libbpf_rs::{
    btf::{Btf, types},
    skel::{OpenSkel, SkelBuilder},
};
use observe::Absent;
use std::{collections::BTreeMap, mem::MaybeUninit, path::Path};

/// The loaded object, and what it came to.
pub(super) struct Loaded {
    pub skel: FridaySkel<'static>,
    /// Why a group of programs is missing.
    pub absent: BTreeMap<Group, Absent>,
    /// Why user stacks are walked by frame pointers only, if they are.
    pub no_tables: Option<Absent>,
}

/// Loads what this kernel allows. One refused program fails the whole object, so its group is left out and the rest is
/// tried again.
///
/// # Errors
/// When not even the ledger can be loaded.
pub(super) fn load(settings: &Settings) -> Result<Loaded, Absent> {
    let btf = read_btf(&settings.roots.btf)?;
    let cannot_walk = cannot_walk(settings, &btf);
    let mut absent = BTreeMap::new();
    loop {
        let mut no_tables = cannot_walk.clone();
        if no_tables.is_none() {
            match try_load(settings, &btf, &absent, true) {
                Ok(skel) => return Ok(Loaded { skel, absent, no_tables }),
                Err((why, _)) => no_tables = Some(why),
            }
        }
        let (why, program) = match try_load(settings, &btf, &absent, false) {
            Ok(skel) => return Ok(Loaded { skel, absent, no_tables }),
            Err(refused) => refused,
        };
        match program.map(|name| Group::of(&name)) {
            Some(group) if group != Group::Ledger && !absent.contains_key(&group) => absent.insert(group, why),
            _ => return Err(why),
        };
    }
}

fn read_btf(path: &Path) -> Result<Btf<'static>, Absent> {
    if !path.exists() {
        return Err(Absent::Unsupported(format!(
            "the kernel has no type information at {}: it takes a kernel built with CONFIG_DEBUG_INFO_BTF \
             (standard since Debian 11, Ubuntu 20.10, RHEL 8.2), or --btf FILE",
            path.display()
        )));
    }
    Btf::from_path(path)
        .map_err(|e| Absent::Unsupported(format!("{} is not usable kernel type information: {e}", path.display())))
}

/// Why user stacks cannot be walked by tables here.
fn cannot_walk(settings: &Settings, btf: &Btf) -> Option<Absent> {
    if !settings.tables {
        return Some(Absent::NotCollected("unwinding tables were not asked for".to_owned()));
    }
    if cfg!(not(target_arch = "x86_64")) {
        return Some(Absent::Unsupported("unwinding tables are there for x86-64 only".to_owned()));
    }
    let helpers = btf.type_by_name::<types::Enum<'_>>("bpf_func_id")?;
    let has = helpers.iter().any(|helper| helper.name.is_some_and(|name| name == "BPF_FUNC_task_pt_regs"));
    (!has).then(|| {
        Absent::Unsupported("unwinding tables need Linux 5.15: the registers of user space are not shown".into())
    })
}

fn try_load(
    settings: &Settings,
    btf: &Btf,
    without: &BTreeMap<Group, Absent>,
    tables: bool,
) -> Result<FridaySkel<'static>, (Absent, Option<String>)> {
    let failed = |what: &str, e: libbpf_rs::Error| (Absent::Failed(format!("{what}: {e}")), None);
    let mut builder = FridaySkelBuilder::default();
    if settings.roots.btf != Path::new(Roots::KERNEL_BTF) {
        builder.obj_builder.btf_custom_path(&settings.roots.btf).map_err(|e| failed("type information", e))?;
    }
    // The object lives as long as the process: the skeleton borrows its place.
    let place = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open: OpenFridaySkel<'static> = builder.open(place).map_err(|e| failed("opening the BPF object", e))?;
    for mut program in open.open_object_mut().progs_mut() {
        let name = program.name().to_string_lossy().into_owned();
        let section = program.section().to_string_lossy().into_owned();
        program.set_autoload(!without.contains_key(&Group::of(&name)) && is_served(&section, &name, btf));
    }
    if let Some(settings_of) = open.maps.rodata_data.as_deref_mut() {
        settings_of.self_tgid = std::process::id();
        settings_of.cpus = libbpf_rs::num_possible_cpus().unwrap_or(1) as u32;
        settings_of.pass_samples = u32::from(settings.pass_samples);
        settings_of.unwind_by_tables = u32::from(tables);
        settings_of.take_stacks = u32::from(settings.tier >= Tier::Stacks);
        settings_of.trace_everyone = u32::from(settings.everyone);
        crate::syscalls::describe(&mut settings_of.calls);
    }
    open.load().map_err(|e| refused_program("loading the BPF programs", &e))
}

/// Whether this kernel has the tracepoint of a program; of two that serve the same end, the better one.
fn is_served(section: &str, program: &str, btf: &Btf) -> bool {
    let has = |name: &str| btf.type_by_name::<types::Typedef<'_>>(&format!("btf_trace_{name}")).is_some();
    match section.split_once('/') {
        // Kernel 6.5 and later tell who begins a request.
        Some(("tp_btf", _)) if program == "block_insert" && has("block_io_start") => false,
        Some(("tp_btf", tracepoint)) => has(tracepoint),
        // Functions of sockets stand in where there are no tracepoints for what they do (before 6.3).
        Some(("fentry" | "fexit", function)) => {
            !has("sock_recv_length") && btf.type_by_name::<types::Func<'_>>(function).is_some()
        }
        _ => true,
    }
}
