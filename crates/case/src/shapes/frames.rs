//! Frames and processes, which the other tables refer to, as tables.

use super::{At, Columns, int, ns, text};
use crate::table::{Column, Table, TableError};
use observe::{Frame, FrameKind, Pid, Process};
use std::collections::BTreeMap;

/// Frames as columns; the row number is the id.
pub fn frames_to(frames: &[Frame]) -> Columns {
    vec![
        ("frame", Column::Int((0..frames.len()).map(|id| i64::try_from(id).unwrap_or(i64::MAX)).collect())),
        ("name", text(frames, |frame| frame.name.clone())),
        ("module", text(frames, |frame| frame.module.clone())),
        ("kind", text(frames, |frame| kind_name(frame.kind).to_owned())),
        ("unknown", text(frames, |frame| frame.unknown.clone())),
    ]
}

fn kind_name(kind: FrameKind) -> &'static str {
    match kind {
        FrameKind::Kernel => "kernel",
        FrameKind::User => "user",
    }
}

/// Frames from columns.
///
/// # Errors
/// A column is missing or holds what cannot be.
pub fn frames_from(table: &Table) -> Result<Vec<Frame>, TableError> {
    let (id, name, module) = (table.int("frame")?, table.text("name")?, table.text("module")?);
    let (kind, unknown) = (table.text("kind")?, table.text("unknown")?);
    (0..table.rows())
        .map(|at| {
            if usize::try_from(id[at]) != Ok(at) {
                return Err(At("frame", at).error(format!("frame {} stands in the place of frame {at}", id[at])));
            }
            Ok(Frame {
                name: name[at].to_owned(),
                module: module[at].to_owned(),
                kind: match kind[at] {
                    "kernel" => FrameKind::Kernel,
                    "user" => FrameKind::User,
                    other => return Err(At("kind", at).error(format!("{other:?} is no kind of frame"))),
                },
                unknown: unknown[at].to_owned(),
            })
        })
        .collect()
}

/// Processes as columns.
pub fn processes_to(processes: &BTreeMap<Pid, Process>) -> Columns {
    let rows: Vec<(&Pid, &Process)> = processes.iter().collect();
    vec![
        ("pid", int(&rows, |(pid, _)| i64::from(pid.0))),
        ("parent", int(&rows, |(_, p)| i64::from(p.parent.0))),
        ("name", text(&rows, |(_, p)| p.name.clone())),
        ("exe", text(&rows, |(_, p)| p.exe.clone())),
        ("cmdline", text(&rows, |(_, p)| p.cmdline.clone())),
        ("cgroup", text(&rows, |(_, p)| p.cgroup.clone())),
        ("container", text(&rows, |(_, p)| p.container.clone())),
        ("is_kernel", int(&rows, |(_, p)| i64::from(p.is_kernel))),
        ("is_friday", int(&rows, |(_, p)| i64::from(p.is_friday))),
        ("allowed_cpus", int(&rows, |(_, p)| i64::from(p.allowed_cpus))),
        ("nice", int(&rows, |(_, p)| i64::from(p.nice))),
        ("policy", text(&rows, |(_, p)| p.policy.clone())),
        ("life_ns", Column::OptInt(rows.iter().map(|(_, p)| p.life.map(ns)).collect())),
    ]
}

/// Processes from columns.
///
/// # Errors
/// A column is missing or holds what cannot be.
pub fn processes_from(table: &Table) -> Result<BTreeMap<Pid, Process>, TableError> {
    let (pid, parent, name) = (table.int("pid")?, table.int("parent")?, table.text("name")?);
    let (exe, cmdline, cgroup) = (table.text("exe")?, table.text("cmdline")?, table.text("cgroup")?);
    // Cases from before these were looked for do not have them.
    let later = |name| match table.text(name) {
        Err(TableError::Missing(_)) => Ok(vec![""; table.rows()]),
        other => other,
    };
    let (container, policy) = (later("container")?, later("policy")?);
    let (is_kernel, is_friday) = (table.int("is_kernel")?, table.int("is_friday")?);
    let (allowed, nice, life) = (table.int("allowed_cpus")?, table.int("nice")?, table.opt_int("life_ns")?);
    let mut processes = BTreeMap::new();
    for at in 0..table.rows() {
        let pid = At("pid", at).pid(pid[at])?;
        let process = Process {
            pid,
            parent: At("parent", at).pid(parent[at])?,
            name: name[at].to_owned(),
            exe: exe[at].to_owned(),
            cmdline: cmdline[at].to_owned(),
            cgroup: cgroup[at].to_owned(),
            container: container[at].to_owned(),
            is_kernel: is_kernel[at] != 0,
            is_friday: is_friday[at] != 0,
            allowed_cpus: u32::try_from(allowed[at])
                .map_err(|_| At("allowed_cpus", at).error(format!("{} is no number of CPUs", allowed[at])))?,
            nice: i32::try_from(nice[at])
                .map_err(|_| At("nice", at).error(format!("{} is no nice value", nice[at])))?,
            policy: policy[at].to_owned(),
            life: life[at].map(|life| At("life_ns", at).duration(life)).transpose()?,
        };
        processes.insert(pid, process);
    }
    Ok(processes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::write;

    #[test]
    fn processes_of_older_cases_have_no_container() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("processes.parquet");
        let process = Process { pid: Pid(7), container: "docker web".into(), name: "web".into(), ..Process::default() };
        let mut columns = processes_to(&BTreeMap::from([(Pid(7), process.clone())]));
        write(&path, &columns).unwrap();
        assert_eq!(processes_from(&Table::read(&path).unwrap()).unwrap()[&Pid(7)], process);
        columns.retain(|(name, _)| *name != "container");
        write(&path, &columns).unwrap();
        let older = &processes_from(&Table::read(&path).unwrap()).unwrap()[&Pid(7)];
        assert_eq!((older.name.as_str(), older.container.as_str()), ("web", ""));
    }
}
