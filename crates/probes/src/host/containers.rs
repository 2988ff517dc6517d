//! Which container, pod or service does a control group belong to, and what do people call it?
//!
//! The path of the group tells the kind and the id. The name is in files that the runtime keeps, which are read as they
//! lie there, a little of each; what is missing or damaged only leaves the id. Nothing is asked of any daemon.

use serde_json::Value;
use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

/// ours: a hundred times what a runtime writes about one container.
const LARGEST_FILE: u64 = 4 << 20;
/// ours: a hundred times the containers of a big node.
const MOST_ENTRIES: usize = 50_000;
/// What `docker ps` and its kin show of an id.
const SHORT_ID: usize = 12;

/// Who runs a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Runtime {
    Docker,
    Containerd,
    Crio,
    Podman,
    Lxc,
    /// systemd-nspawn, or a virtual machine that is registered with systemd.
    Machine,
    Unknown,
}

impl Runtime {
    fn name(self) -> &'static str {
        match self {
            Runtime::Docker => "docker",
            Runtime::Containerd => "containerd",
            Runtime::Crio => "cri-o",
            Runtime::Podman => "podman",
            Runtime::Lxc => "lxc",
            Runtime::Machine => "machine",
            Runtime::Unknown => "container",
        }
    }
}

/// What the path of a group tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Found {
    container: Option<(Runtime, String)>,
    /// The unique id of a Kubernetes pod.
    pod: Option<String>,
    /// A systemd unit: the machine's, or that of the container where there is one.
    unit: Option<String>,
}

/// Names what control groups belong to; each is looked up once.
pub(crate) struct Containers {
    /// The root of the file system that holds the runtimes' files.
    root: PathBuf,
    known: HashMap<Found, String>,
    podman: Option<HashMap<String, String>>,
    logs: Option<Logs>,
}

/// What the names of the kubelet's log files tell.
#[derive(Default)]
struct Logs {
    /// Namespace and name by the pod's unique id.
    pods: HashMap<String, String>,
    /// Pod and container by the container's id.
    containers: HashMap<String, (String, String)>,
}

impl Containers {
    /// For the machine whose procfs this is: its files are where that is mounted.
    pub fn new(proc: &Path) -> Self {
        let root = proc.parent().unwrap_or(Path::new("/")).to_path_buf();
        Containers { root, known: HashMap::new(), podman: None, logs: None }
    }

    /// The name of what a process belongs to, by its groups in all hierarchies: `pod shop/api-7d9 container api
    /// (0123456789ab)`, `docker web (0123456789ab)`, `unit nginx.service`; empty where it belongs to nothing.
    pub fn name<'a>(&mut self, groups: impl IntoIterator<Item = &'a str>) -> String {
        let all = groups.into_iter().map(recognise);
        let best = all.max_by_key(|found| (found.container.is_some(), found.pod.is_some(), found.unit.is_some()));
        let Some(found) = best.filter(|found| *found != Found::default()) else { return String::new() };
        if let Some(name) = self.known.get(&found) {
            return name.clone();
        }
        let name = self.describe(&found);
        self.known.insert(found, name.clone());
        name
    }

    fn describe(&mut self, found: &Found) -> String {
        let mut text = match (&found.container, &found.pod) {
            (Some((runtime, id)), Some(pod)) => self.in_pod(*runtime, id, pod),
            (Some((runtime, id)), None) => self.alone(*runtime, id),
            (None, Some(pod)) => format!("pod {}", self.logs().pods.get(pod).unwrap_or(pod)),
            (None, None) => String::new(),
        };
        if let Some(unit) = &found.unit {
            text = format!("{text} unit {unit}").trim_start().to_owned();
        }
        text
    }

    fn in_pod(&mut self, runtime: Runtime, id: &str, uid: &str) -> String {
        let short = short(id);
        let file = match runtime {
            Runtime::Docker => self.docker(id),
            Runtime::Crio => self.crio(id),
            _ => self.containerd(id).or_else(|| self.crio(id)).or_else(|| self.docker(id)),
        };
        if let Some((Some(pod), name)) = file {
            return match name {
                Some(name) => format!("pod {pod} container {name} ({short})"),
                None => format!("pod {pod} sandbox ({short})"),
            };
        }
        let logs = self.logs();
        match (logs.containers.get(id), logs.pods.get(uid)) {
            (Some((pod, name)), _) => format!("pod {pod} container {name} ({short})"),
            (None, Some(pod)) => format!("pod {pod} container {short}"),
            (None, None) => format!("pod {uid} container {short}"),
        }
    }

    fn alone(&mut self, runtime: Runtime, id: &str) -> String {
        let kind = runtime.name();
        let name = match runtime {
            // There the id is the name.
            Runtime::Lxc | Runtime::Machine => return format!("{kind} {id}"),
            Runtime::Docker | Runtime::Unknown => self.docker(id),
            Runtime::Podman => self.podman().get(id).map(|name| (None, Some(name.clone()))),
            Runtime::Containerd => self.containerd(id),
            Runtime::Crio => self.crio(id),
        };
        match name {
            Some((Some(pod), Some(name))) => format!("pod {pod} container {name} ({})", short(id)),
            Some((Some(pod), None)) => format!("pod {pod} sandbox ({})", short(id)),
            Some((None, Some(name))) => format!("{kind} {name} ({})", short(id)),
            _ => format!("{kind} {}", short(id)),
        }
    }

    fn json(&self, file: &str) -> Option<Value> {
        let mut bytes = Vec::new();
        File::open(self.root.join(file)).ok()?.take(LARGEST_FILE).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// The pod, where it is in one, and the container's name.
    fn docker(&self, id: &str) -> Option<(Option<String>, Option<String>)> {
        let config = self.json(&format!("var/lib/docker/containers/{id}/config.v2.json"))?;
        let labels = config.pointer("/Config/Labels").unwrap_or(&Value::Null);
        let pod = pod(labels, "io.kubernetes.pod.namespace", "io.kubernetes.pod.name");
        let name = match &pod {
            Some(_) => word(labels, "io.kubernetes.container.name").filter(|name| name != "POD"),
            None => word(&config, "Name").map(|name| name.trim_start_matches('/').to_owned()),
        };
        Some((pod, name))
    }

    fn containerd(&self, id: &str) -> Option<(Option<String>, Option<String>)> {
        let places = ["run/containerd", "run/k3s/containerd"];
        let spaces = ["k8s.io", "default"];
        let files = places.iter().flat_map(|place| spaces.map(|space| (place, space)));
        let mut files =
            files.map(|(place, space)| format!("{place}/io.containerd.runtime.v2.task/{space}/{id}/config.json"));
        let config = files.find_map(|file| self.json(&file))?;
        let notes = config.get("annotations")?;
        let pod = pod(notes, "io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri.sandbox-name");
        Some((pod, word(notes, "io.kubernetes.cri.container-name").or_else(|| word(notes, "nerdctl/name"))))
    }

    fn crio(&self, id: &str) -> Option<(Option<String>, Option<String>)> {
        let mut places = ["run/containers", "var/lib/containers"].into_iter();
        let config = places
            .find_map(|place| self.json(&format!("{place}/storage/overlay-containers/{id}/userdata/config.json")))?;
        let notes = config.get("annotations")?;
        let pod = pod(notes, "io.kubernetes.pod.namespace", "io.kubernetes.pod.name");
        let sandbox = word(notes, "io.kubernetes.cri-o.ContainerType").is_some_and(|kind| kind == "sandbox");
        Some((pod, word(notes, "io.kubernetes.container.name").filter(|_| !sandbox)))
    }

    /// Names by id.
    fn podman(&mut self) -> &HashMap<String, String> {
        if self.podman.is_none() {
            let mut names = HashMap::new();
            for file in ["containers.json", "volatile-containers.json"] {
                let list = self.json(&format!("var/lib/containers/storage/overlay-containers/{file}"));
                for one in list.as_ref().and_then(Value::as_array).into_iter().flatten() {
                    let name = one.pointer("/names/0").and_then(Value::as_str).and_then(clean);
                    if let (Some(id), Some(name)) = (word(one, "id"), name) {
                        names.insert(id, name);
                    }
                }
            }
            self.podman = Some(names);
        }
        self.podman.get_or_insert_default()
    }

    fn logs(&mut self) -> &Logs {
        if self.logs.is_none() {
            let mut logs = Logs::default();
            // NAMESPACE_POD_UID
            for name in names_in(&self.root.join("var/log/pods")) {
                if let [namespace, pod, uid] = name.split('_').collect::<Vec<_>>()[..] {
                    logs.pods.insert(uid.to_owned(), format!("{namespace}/{pod}"));
                }
            }
            // POD_NAMESPACE_CONTAINER-ID.log
            for name in names_in(&self.root.join("var/log/containers")) {
                let [pod, namespace, rest] = name.split('_').collect::<Vec<_>>()[..] else { continue };
                if let Some((container, id)) = rest.strip_suffix(".log").and_then(|rest| rest.rsplit_once('-')) {
                    logs.containers.insert(id.to_owned(), (format!("{namespace}/{pod}"), container.to_owned()));
                }
            }
            self.logs = Some(logs);
        }
        self.logs.get_or_insert_default()
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().take(MOST_ENTRIES).flatten();
    entries.filter_map(|entry| clean(&entry.file_name().to_string_lossy())).collect()
}

/// A text in an object of a file; `None` when it is no name that anybody could have given.
fn word(of: &Value, key: &str) -> Option<String> {
    clean(of.get(key)?.as_str()?)
}

/// ours: names are no longer than a DNS name, and have no blanks or control characters in them.
fn clean(name: &str) -> Option<String> {
    let fits = !name.is_empty() && name.len() <= 512;
    (fits && !name.chars().any(|c| c.is_control() || c.is_whitespace())).then(|| name.to_owned())
}

fn pod(notes: &Value, namespace: &str, name: &str) -> Option<String> {
    Some(format!("{}/{}", word(notes, namespace)?, word(notes, name)?))
}

fn short(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

/// What a path tells: the innermost container, pod and unit on the way down.
fn recognise(path: &str) -> Found {
    let mut found = Found::default();
    let mut above = "";
    for part in path.split('/') {
        if let Some(pod) = pod_id(part) {
            found.pod = Some(pod);
        }
        if let Some(container) = container(above, part, found.pod.is_some()) {
            found.container = Some(container);
            found.unit = None;
        } else if part.ends_with(".service") || part.ends_with(".scope") {
            // Monitors of containers are units of the machine's.
            found.unit = Some(part.strip_prefix('_').unwrap_or(part).to_owned());
        }
        above = part;
    }
    found
}

/// `pod<uid>`, or `kubepods-burstable-pod<uid>.slice` with underscores in the id, or that before a colon.
fn pod_id(part: &str) -> Option<String> {
    let slice = part.split(':').next().unwrap_or(part);
    let uid = match slice.strip_suffix(".slice") {
        Some(stem) if stem.contains("kubepods") => stem.rsplit_once("-pod")?.1.replace('_', "-"),
        Some(_) => return None,
        None => part.strip_prefix("pod")?.to_owned(),
    };
    // A UUID, or a hash of the file that a static pod is made from.
    let shaped = uid.len() >= 32 && uid.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    shaped.then_some(uid)
}

fn container(above: &str, part: &str, in_pod: bool) -> Option<(Runtime, String)> {
    let named = |runtime, name: &str| (!name.is_empty()).then(|| (runtime, name.to_owned()));
    if let Some(name) = part.strip_prefix("lxc.payload.") {
        return named(Runtime::Lxc, name);
    }
    if matches!(above, "lxc" | "lxc.payload") {
        return named(Runtime::Lxc, part);
    }
    if let Some(name) = part.strip_prefix("systemd-nspawn@").and_then(|rest| rest.strip_suffix(".service")) {
        return named(Runtime::Machine, &unescaped(name));
    }
    if let Some(name) = part.strip_prefix("machine-").and_then(|rest| rest.strip_suffix(".scope")) {
        return named(Runtime::Machine, &unescaped(name));
    }
    // SLICE:RUNTIME:ID, where the runtime was told to use systemd's names and does not.
    if let [_, runtime, id] = part.split(':').collect::<Vec<_>>()[..] {
        return is_id(id).then(|| (runtime_of(runtime), id.to_owned()));
    }
    let stem = part.strip_suffix(".scope").unwrap_or(part);
    if is_id(stem) {
        let runtime = match above {
            "docker" => Runtime::Docker,
            _ if above.starts_with("libpod") => Runtime::Podman,
            _ if in_pod => Runtime::Containerd,
            _ => Runtime::Unknown,
        };
        return Some((runtime, stem.to_owned()));
    }
    let (prefix, id) = stem.rsplit_once('-')?;
    let runtime = runtime_of(prefix);
    (is_id(id) && runtime != Runtime::Unknown).then(|| (runtime, id.to_owned()))
}

fn runtime_of(prefix: &str) -> Runtime {
    match prefix {
        "docker" => Runtime::Docker,
        "cri-containerd" | "containerd" | "nerdctl" => Runtime::Containerd,
        "crio" => Runtime::Crio,
        "libpod" => Runtime::Podman,
        _ => Runtime::Unknown,
    }
}

fn is_id(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit())
}

/// systemd writes a hyphen in a name as `\x2d`, as hyphens part its own names.
fn unescaped(name: &str) -> String {
    name.replace("\\x2d", "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "6d9c8f1e-2b3a-4c5d-8e7f-0a1b2c3d4e5f";
    const ESCAPED: &str = "6d9c8f1e_2b3a_4c5d_8e7f_0a1b2c3d4e5f";

    fn put(base: &Path, file: &str, content: &str) {
        let path = base.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn name(base: &Path, path: &str) -> String {
        Containers::new(&base.join("proc")).name([path])
    }

    #[test]
    fn paths_alone_give_kind_and_id() {
        let dir = tempfile::tempdir().unwrap();
        for (path, expected) in [
            ("/", ""),
            ("/user.slice", ""),
            ("/a/b", ""),
            ("/system.slice/nginx.service", "unit nginx.service"),
            ("/system.slice/_cpu.service", "unit cpu.service"),
            ("/system.slice/system-getty.slice/getty@tty1.service", "unit getty@tty1.service"),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/app.scope", "unit app.scope"),
            ("/docker/ID", "docker 0123456789ab"),
            ("/docker/ID/inner", "docker 0123456789ab"),
            ("/system.slice/docker-ID.scope", "docker 0123456789ab"),
            ("/system.slice/docker-ID.scope/system.slice/a.service", "docker 0123456789ab unit a.service"),
            ("/system.slice/docker.service", "unit docker.service"),
            ("/kubepods/burstable/podUID/ID", "pod UID container 0123456789ab"),
            ("/kubepods/podUID", "pod UID"),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podESC.slice/cri-containerd-ID.scope",
                "pod UID container 0123456789ab",
            ),
            ("/kubepods.slice/kubepods-podESC.slice/crio-ID.scope", "pod UID container 0123456789ab"),
            (
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podESC.slice/cri-containerd-ID.scope",
                "pod UID container 0123456789ab",
            ),
            ("/kubepods.slice/kubepods-podESC.slice/crio-conmon-ID.scope", "pod UID unit crio-conmon-ID.scope"),
            (
                "/system.slice/containerd.service/kubepods-besteffort-podESC.slice:cri-containerd:ID",
                "pod UID container 0123456789ab",
            ),
            ("/machine.slice/libpod-ID.scope/container", "podman 0123456789ab"),
            ("/libpod_parent/libpod-ID", "podman 0123456789ab"),
            ("/machine.slice/libpod-conmon-ID.scope", "unit libpod-conmon-ID.scope"),
            ("/lxc/101/ns/init.scope", "lxc 101 unit init.scope"),
            ("/lxc.payload.web/system.slice/nginx.service", "lxc web unit nginx.service"),
            ("/lxc.payload/web", "lxc web"),
            ("/machine.slice/systemd-nspawn@build.service/payload", "machine build"),
            ("/machine.slice/machine-qemu\\x2d1\\x2dvm.scope", "machine qemu-1-vm"),
            ("/ecs/0a1b/ID", "container 0123456789ab"),
            ("/system.slice/nerdctl-ID.scope", "containerd 0123456789ab"),
            ("/docker/0123", ""),
            ("/podfoo/ID", "container 0123456789ab"),
        ] {
            let fill = |text: &str| text.replace("UID", UID).replace("ESC", ESCAPED).replace("ID", ID);
            assert_eq!(name(dir.path(), &fill(path)), fill(expected), "{path}");
        }
    }

    #[test]
    fn runtimes_know_the_names() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        put(base, &format!("var/lib/docker/containers/{ID}/config.v2.json"), r#"{"ID":"x","Name":"/web"}"#);
        assert_eq!(name(base, &format!("/docker/{ID}")), "docker web (0123456789ab)");
        let list = format!(r#"[{{"id":"{ID}","names":["db","other"]}},{{"id":3}},7]"#);
        put(base, "var/lib/containers/storage/overlay-containers/containers.json", &list);
        assert_eq!(name(base, &format!("/machine.slice/libpod-{ID}.scope")), "podman db (0123456789ab)");
    }

    #[test]
    fn pods_by_every_runtime() {
        let pod = format!("/kubepods.slice/kubepods-pod{ESCAPED}.slice");
        let docker = r#"{"Name":"/k8s_api","Config":{"Labels":{"io.kubernetes.pod.name":"api-7d9",
            "io.kubernetes.pod.namespace":"shop","io.kubernetes.container.name":"api"}}}"#;
        let containerd = r#"{"annotations":{"io.kubernetes.cri.container-name":"api",
            "io.kubernetes.cri.sandbox-name":"api-7d9","io.kubernetes.cri.sandbox-namespace":"shop"}}"#;
        let crio = r#"{"annotations":{"io.kubernetes.container.name":"api","io.kubernetes.pod.name":"api-7d9",
            "io.kubernetes.pod.namespace":"shop","io.kubernetes.cri-o.ContainerType":"container"}}"#;
        for (scope, file, content) in [
            ("docker-", "var/lib/docker/containers/ID/config.v2.json", docker),
            ("cri-containerd-", "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json", containerd),
            ("cri-containerd-", "run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json", containerd),
            ("crio-", "run/containers/storage/overlay-containers/ID/userdata/config.json", crio),
            ("crio-", "var/lib/containers/storage/overlay-containers/ID/userdata/config.json", crio),
        ] {
            let dir = tempfile::tempdir().unwrap();
            put(dir.path(), &file.replace("ID", ID), content);
            let expected = "pod shop/api-7d9 container api (0123456789ab)";
            assert_eq!(name(dir.path(), &format!("{pod}/{scope}{ID}.scope")), expected, "{file}");
            assert_eq!(name(dir.path(), &format!("/kubepods/besteffort/pod{UID}/{ID}")), expected, "{file}");
        }
        let dir = tempfile::tempdir().unwrap();
        let sandbox = containerd.replace("io.kubernetes.cri.container-name", "other");
        put(dir.path(), &format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json"), &sandbox);
        let seen = name(dir.path(), &format!("{pod}/cri-containerd-{ID}.scope"));
        assert_eq!(seen, "pod shop/api-7d9 sandbox (0123456789ab)");
    }

    #[test]
    fn the_kubelets_logs_know_names_too() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        let path = format!("/kubepods/pod{UID}/{ID}");
        put(base, &format!("var/log/pods/shop_api-7d9_{UID}/api/0.log"), "");
        assert_eq!(name(base, &path), "pod shop/api-7d9 container 0123456789ab");
        assert_eq!(name(base, &format!("/kubepods/pod{UID}")), "pod shop/api-7d9");
        put(base, &format!("var/log/containers/api-7d9_shop_my-api-{ID}.log"), "");
        assert_eq!(name(base, &path), "pod shop/api-7d9 container my-api (0123456789ab)");
    }

    #[test]
    fn damage_leaves_the_id() {
        let path = format!("/docker/{ID}");
        let file = format!("var/lib/docker/containers/{ID}/config.v2.json");
        let deep = "[".repeat(100_000);
        for content in ["", "{", "[]", "7", r#"{"Name":7}"#, r#"{"Name":""}"#, r#"{"Name":"a\u001b[31m b"}"#, &deep] {
            let dir = tempfile::tempdir().unwrap();
            put(dir.path(), &file, content);
            assert_eq!(name(dir.path(), &path), "docker 0123456789ab", "{content:.20}");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(file)).unwrap();
        assert_eq!(name(dir.path(), &path), "docker 0123456789ab");
    }

    #[test]
    fn the_hierarchy_that_tells_most_counts() {
        let dir = tempfile::tempdir().unwrap();
        let docker = format!("/docker/{ID}");
        let mut containers = Containers::new(&dir.path().join("proc"));
        assert_eq!(containers.name(["/", "/system.slice/a.service", docker.as_str()]), "docker 0123456789ab");
        assert_eq!(containers.name(["/", "/system.slice/a.service"]), "unit a.service");
        assert_eq!(containers.name(["/", "/user.slice"]), "");
        assert_eq!(containers.name([]), "");
    }
}
