//! On what open files lie: file systems, the devices under them, and the disks under those.

use super::{End, Links, descriptors::Descriptors};
use crate::{
    host::{
        facts::{Mount, mounted, mounts_of},
        text,
    },
    roots::Roots,
};
use observe::Pid;
use std::{collections::HashMap, fs, path::Path};

/// File systems that hold no files of anybody's.
const PSEUDO: [&str; 20] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "sysfs",
    "tracefs",
];
/// ours: a logical volume on a cache on a mirror on partitions, and some.
const DEEPEST: usize = 8;
/// ours: mount namespaces that are looked into.
const MOST_NAMESPACES: usize = 64;

/// Adds each process' files by file system, devices that it has open itself, and what is below.
pub(super) fn join(roots: &Roots, open: &Descriptors, links: &mut Links) {
    let own = mounted(roots).unwrap_or_default();
    let mut known: HashMap<String, Option<End>> = HashMap::new();
    let mut namespaces = 0;
    for ((pid, mount), [reads, writes]) in &open.files {
        if !known.contains_key(mount) {
            let here = own.iter().find(|one| one.id == *mount);
            let mut theirs = Vec::new();
            if here.is_none() && namespaces < MOST_NAMESPACES {
                namespaces += 1;
                theirs = mounts_of(&roots.proc.join(pid.to_string())).unwrap_or_default();
            }
            let found = here.or_else(|| theirs.iter().find(|one| one.id == *mount));
            let end = found.and_then(|found| {
                let end = name(found, &own, here.is_none().then_some(*pid))?;
                below(roots, &end, found, &own, links);
                Some(end)
            });
            known.insert(mount.clone(), end);
        }
        let Some(Some(end)) = known.get(mount) else { continue };
        for (count, what) in [(*reads, "read"), (*writes, "write")] {
            if count > 0 {
                links.add_many(End::Process(*pid), end.clone(), "file", what, count);
            }
        }
    }
    for ((pid, device), count) in &open.devices {
        let block = block_name(&roots.sys, device);
        let end = End::Device(block.clone().unwrap_or_else(|| format!("/dev/{device}")));
        links.add_many(End::Process(*pid), end, "device", "", *count);
        if let Some(block) = block {
            layers(&roots.sys, &block, links, DEEPEST);
        }
    }
}

/// A file system by where it is mounted: the shortest of its places on the host, else where that process sees it.
fn name(mount: &Mount, own: &[Mount], of: Option<Pid>) -> Option<End> {
    if PSEUDO.contains(&mount.kind.as_str()) {
        return None;
    }
    let here = own.iter().filter(|one| one.number == mount.number && (of.is_none() || mount.kind != "overlay"));
    // A part of it shown elsewhere is a bind mount.
    let shortest = here.min_by_key(|one| (one.root != "/", one.mountpoint.len())).map(|one| one.mountpoint.as_str());
    let place = match (shortest, of) {
        (Some(place), _) => place.to_owned(),
        (None, Some(pid)) => format!("{} of process {pid}", mount.mountpoint),
        (None, None) => mount.mountpoint.clone(),
    };
    Some(End::FileSystem(place))
}

/// What a file system lies on.
fn below(roots: &Roots, end: &End, mount: &Mount, own: &[Mount], links: &mut Links) {
    let kind = mount.kind.as_str();
    if let Some(upper) = mount.options.split(',').find_map(|option| option.strip_prefix("upperdir=")) {
        let holding = own.iter().filter(|one| Path::new(upper).starts_with(&one.mountpoint) && one.kind != "overlay");
        let Some(under) = holding.max_by_key(|one| one.mountpoint.len()) else { return };
        let Some(lower) = name(under, own, None) else { return };
        links.note(end.clone(), lower.clone(), "mount", kind);
        return below(roots, &lower, under, own, links);
    }
    let by_number = fs::read_link(roots.sys.join("dev/block").join(&mount.number)).ok();
    let by_number = by_number.and_then(|link| Some(link.file_name()?.to_str()?.to_owned()));
    let device = by_number.or_else(|| mount.source.strip_prefix("/dev/").and_then(|name| block_name(&roots.sys, name)));
    if let Some(device) = device {
        links.note(end.clone(), End::Device(device.clone()), "mount", kind);
        layers(&roots.sys, &device, links, DEEPEST);
    } else if kind == "tmpfs" || kind == "ramfs" {
        links.note(end.clone(), End::Device("memory".to_owned()), "mount", kind);
    } else if let Some(server) = server(&mount.source) {
        links.note(end.clone(), End::Peer(server), "mount", kind);
    } else {
        links.note(end.clone(), End::Nothing, "mount", kind);
    }
}

/// `files:/export`, `[fd00::1]:/x` and `//files/share` name a server.
fn server(source: &str) -> Option<String> {
    let name = match source.strip_prefix("//") {
        Some(share) => share.split('/').next()?,
        None => source.split_once(":/")?.0,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    (!name.is_empty() && !name.contains('/')).then(|| name.to_owned())
}

/// The kernel's name of a block device that a path under `/dev` leads to.
fn block_name(sys: &Path, device: &str) -> Option<String> {
    let known = |name: &str| sys.join("class/block").join(name).exists();
    if !device.contains('/') && known(device) {
        return Some(device.to_owned());
    }
    let mapped = device.strip_prefix("mapper/")?;
    let volumes = fs::read_dir(sys.join("class/block")).ok()?.flatten();
    let mut volumes = volumes.filter_map(|entry| entry.file_name().into_string().ok());
    volumes.find(|name| text(&sys.join("class/block").join(name).join("dm/name")).as_deref() == Some(mapped))
}

/// From a volume or partition down to disks.
fn layers(sys: &Path, device: &str, links: &mut Links, deep: usize) {
    let place = sys.join("class/block").join(device);
    let slaves = fs::read_dir(place.join("slaves")).into_iter().flatten().flatten();
    let mut lower: Vec<String> = slaves.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    if place.join("partition").exists() {
        let disk = fs::canonicalize(&place).ok();
        let disk = disk.as_deref().and_then(Path::parent).and_then(Path::file_name);
        lower.extend(disk.and_then(|name| name.to_str()).map(str::to_owned));
    }
    for one in lower.into_iter().filter(|_| deep > 0) {
        links.note(End::Device(device.to_owned()), End::Device(one.clone()), "layer", "");
        layers(sys, &one, links, deep - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            descriptors::tests::{process, roots},
            tests::lines,
        },
        *,
    };
    use observe::Target;
    use std::os::unix::fs::symlink;

    #[test]
    fn from_files_down_to_disks() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        let mount = |text: &str| fs::write(base.join(text.split_once('|').unwrap().0), text.split_once('|').unwrap().1);
        process(base, 10, &[("/data/x", "02", "30"), ("/data/y", "00", "30"), ("/proc/1/stat", "00", "22")]);
        process(base, 11, &[("/log", "01", "90"), ("/home/\u{1b}b", "00", "31"), ("/net/f", "00", "32")]);
        process(base, 12, &[("/dev/mapper/vg-data", "02", "5"), ("/tmp/a", "02", "33"), ("/x", "00", "77")]);
        let own = "22 1 0:21 / /proc rw - proc proc rw\n25 1 254:1 / / rw - ext4 /dev/root rw\n\
            29 25 253:0 /sub /bind rw - xfs /dev/mapper/vg-data rw\n30 25 253:0 / /data rw - xfs /dev/mapper/vg-data rw\n\
            31 25 0:40 / /home rw - btrfs /dev/sdb rw\n32 25 0:50 / /net rw - nfs4 files:/export rw\n\
            33 25 0:51 / /tmp rw - tmpfs tmpfs rw\n";
        fs::create_dir_all(base.join("proc/self")).unwrap();
        mount(&format!("proc/self/mountinfo|{own}")).unwrap();
        let theirs = "90 89 0:60 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/data/docker/u,workdir=/w\n";
        mount(&format!("proc/11/mountinfo|{theirs}")).unwrap();
        for (name, place) in
            [("dm-0", "virtual/dm-0"), ("sda", "pci/sda"), ("sda2", "pci/sda/sda2"), ("sdb", "pci/sdb")]
        {
            fs::create_dir_all(base.join("sys/devices").join(place)).unwrap();
            fs::create_dir_all(base.join("sys/class/block")).unwrap();
            symlink(base.join("sys/devices").join(place), base.join("sys/class/block").join(name)).unwrap();
        }
        fs::create_dir_all(base.join("sys/class/block/dm-0/slaves/sda2")).unwrap();
        fs::create_dir_all(base.join("sys/class/block/dm-0/dm")).unwrap();
        fs::write(base.join("sys/class/block/dm-0/dm/name"), "vg-data\n").unwrap();
        fs::write(base.join("sys/class/block/sda2/partition"), "2\n").unwrap();
        fs::create_dir_all(base.join("sys/dev/block")).unwrap();
        symlink("../../devices/virtual/dm-0", base.join("sys/dev/block/253:0")).unwrap();
        let mut links = Links::default();
        let open = Descriptors::read(&roots(base), &Target::system("h"), &mut links).unwrap();
        join(&roots(base), &open, &mut links);
        let expected = [
            "process:10 > filesystem:/data file read 1",
            "process:10 > filesystem:/data file write 1",
            "process:11 > filesystem:/ of process 11 file write 1",
            "process:11 > filesystem:/home file read 1",
            "process:11 > filesystem:/net file read 1",
            "process:12 > filesystem:/tmp file write 1",
            "process:12 > device:dm-0 device 1",
            "filesystem:/ of process 11 > filesystem:/data mount overlay 1",
            "filesystem:/data > device:dm-0 mount xfs 1",
            "filesystem:/home > device:sdb mount btrfs 1",
            "filesystem:/net > peer:files mount nfs4 1",
            "filesystem:/tmp > device:memory mount tmpfs 1",
            "device:dm-0 > device:sda2 layer 1",
            "device:sda2 > device:sda layer 1",
        ];
        assert_eq!(lines(&links), expected);
    }
}
