//! Looks at a process, its descendants, and what they are connected with.

use std::collections::{BTreeMap, BTreeSet};

use super::connections::{Holders, Sockets};
use super::descriptors;
use super::escape::visible_bytes;
use super::picture::{Outside, Picture, Process, Seen};
use super::proc_dir::{self, Hidden, ProcDir};
use super::process::{self, Stat, Users};
use super::regions;
use super::{tcp, unix_sockets};
use crate::published::{Namespace, Numbers};

/// The name of the process from which a program that uses Brigade forks its workers.
const FORK_SERVER: &str = "brigade-server";

/// Takes the picture. An error says why there is none at all.
pub(crate) fn look(root: u32) -> Result<Picture, String> {
    let all = all_processes().map_err(|why| format!("/proc: {why}"))?;
    let root = thread_group(root).ok_or_else(|| format!("there is no process {root}"))?;
    if !all.contains_key(&root) {
        return Err(format!("there is no process {root}, or it has just ended"));
    }
    let mut pids = descendants(&all, root);
    let ancestors = ancestors(&all, root);
    let mut because = BTreeMap::new();
    // A fork server is started twice removed, so that it is no child of the program: it is found
    // by its connection. One of them may have another one below.
    for _ in 0..4 {
        let picture = draw(root, &pids, &all, &because)?;
        let servers: Vec<u32> = picture
            .outside
            .iter()
            .filter(|outside| outside.name == FORK_SERVER && !ancestors.contains(&outside.pid))
            .map(|outside| outside.pid)
            .collect();
        if servers.is_empty() {
            return Ok(picture);
        }
        for server in servers {
            because.insert(
                server,
                "a fork server that is connected with the above".into(),
            );
            let more = descendants(&all, server);
            pids.extend(more.into_iter().filter(|pid| *pid != root));
        }
        let mut known = BTreeSet::new();
        pids.retain(|pid| known.insert(*pid));
    }
    draw(root, &pids, &all, &because)
}

fn draw(
    root: u32,
    pids: &[u32],
    all: &BTreeMap<u32, Stat>,
    because: &BTreeMap<u32, String>,
) -> Result<Picture, String> {
    let users = Users::read();
    let mut notes = Vec::new();
    let mut holders = Holders::default();
    let mut processes: Vec<(ProcDir, Process)> = Vec::new();
    for pid in pids {
        let Some(stat) = all.get(pid) else {
            continue;
        };
        // One that has ended since is left out.
        if let Some((dir, mut process)) = process::read(*pid, stat.started, &users) {
            process.because = because.get(pid).cloned();
            hold(&dir, &process, &mut holders, &mut notes);
            processes.push((dir, process));
        }
    }
    if processes.first().is_none_or(|(_, first)| first.pid != root) {
        return Err(format!("process {root} ended while it was looked at"));
    }
    renumber(&mut processes, &mut notes);
    let sockets = sockets(&processes, &mut notes);
    let inside: BTreeSet<u32> = processes.iter().map(|(_, process)| process.pid).collect();
    let not_permitted = look_outside(&mut holders, &sockets, &inside, all);
    let found = holders.connect(&sockets, &inside);
    if found.one_sided && not_permitted > 0 {
        notes.push(format!(
            "{not_permitted} other processes may not be looked into (not permitted): some of the \
             ends that are not seen may be theirs"
        ));
    }
    let connected = found
        .connections
        .iter()
        .flat_map(|connection| connection.pids());
    let outside: BTreeSet<u32> = connected.filter(|pid| !inside.contains(pid)).collect();
    Ok(Picture {
        root,
        outside: outside
            .into_iter()
            .map(|pid| Outside {
                pid,
                name: all
                    .get(&pid)
                    .map_or_else(String::new, |stat| stat.name.clone()),
            })
            .collect(),
        processes: processes.into_iter().map(|(_, process)| process).collect(),
        connections: found.connections,
        listeners: found.listeners,
        notes,
    })
}

/// What programs in pid namespaces of their own publish is told by the numbers that processes have
/// here.
fn renumber(processes: &mut [(ProcDir, Process)], notes: &mut Vec<String>) {
    for at in 0..processes.len() {
        let (dir, process) = &processes[at];
        let (pid, Some(Seen::Seen(_))) = (process.pid, &process.published) else {
            continue;
        };
        let (known, threads) = match Namespace::of(dir) {
            Ok(None) => continue,
            Ok(Some(namespace)) => {
                let numbers = processes
                    .iter()
                    .filter_map(|(dir, process)| Some((namespace.number_of(dir)?, process.pid)));
                (numbers.collect(), namespace.threads(dir))
            }
            // Then none of its numbers is told as if it were one of here.
            Err(_) => (Numbers::new(), Numbers::new()),
        };
        if let Some(Seen::Seen(published)) = &mut processes[at].1.published {
            published.renumber(&known, &threads);
            let unseen = published.unseen();
            if unseen > 0 {
                notes.push(format!(
                    "process {pid} is in a pid namespace of its own, and {unseen} of its workers \
                     are not seen from here: they have the numbers that it calls them by"
                ));
            }
        }
    }
}

/// Enters what a process of the picture has.
fn hold(dir: &ProcDir, process: &Process, holders: &mut Holders, notes: &mut Vec<String>) {
    for descriptor in process.descriptors.ok().into_iter().flatten() {
        holders.add_descriptor(process.pid, descriptor);
    }
    match regions::read(dir) {
        Ok(regions) => {
            for (object, mapped) in &regions {
                holders.add_region(process.pid, *object, mapped);
            }
        }
        Err(Hidden::Ended) => {}
        Err(why) => notes.push(format!(
            "the mappings of process {}: {why}; regions that it shares are not shown",
            process.pid
        )),
    }
    if let Seen::Not { unknown } = &process.descriptors
        && process.threads.ok().is_some()
        && unknown != &Hidden::Ended.to_string()
    {
        notes.push(format!(
            "the descriptors of process {}: {unknown}; what it is connected with is not shown",
            process.pid
        ));
    }
}

fn sockets(processes: &[(ProcDir, Process)], notes: &mut Vec<String>) -> Sockets {
    let mut sockets = Sockets::default();
    match unix_sockets::read() {
        Ok(unix) => sockets.unix = unix,
        Err(why) => notes.push(format!("Unix sockets are not shown: {why}")),
    }
    let ours = namespace("/proc/self/ns/net");
    let mut known = BTreeSet::new();
    for (dir, process) in processes {
        let Ok(theirs) = dir.link("ns/net") else {
            continue;
        };
        if !known.insert(theirs.clone()) {
            continue;
        }
        if ours.as_ref() != Some(&theirs) {
            notes.push(format!(
                "process {} is in another network namespace: its Unix sockets are not shown",
                process.pid
            ));
        }
        match tcp::read(dir) {
            Ok(table) => sockets.tcp.push(table),
            Err(Hidden::Ended) => {
                known.remove(&theirs);
            }
            Err(why) => notes.push(format!("TCP sockets are not shown: {why}")),
        }
    }
    if known.is_empty()
        && let Ok(dir) = ProcDir::open(std::process::id())
        && let Ok(table) = tcp::read(&dir)
    {
        sockets.tcp.push(table);
    }
    sockets
}

fn namespace(path: &str) -> Option<Vec<u8>> {
    let target = rustix::fs::readlink(path, Vec::new()).ok()?;
    Some(target.into_bytes())
}

/// Looks for the same objects in all other processes. Returns how many of those may not be looked
/// into.
fn look_outside(
    holders: &mut Holders,
    sockets: &Sockets,
    inside: &BTreeSet<u32>,
    all: &BTreeMap<u32, Stat>,
) -> usize {
    let wanted = holders.wanted(sockets);
    let names: BTreeSet<String> = holders.names().into_iter().map(str::to_owned).collect();
    let me = std::process::id();
    let mut not_permitted = 0;
    for &pid in all
        .keys()
        .filter(|&&pid| pid != me && !inside.contains(&pid))
    {
        let Ok(dir) = ProcDir::open(pid) else {
            continue;
        };
        let Ok(numbers) = dir.numbers("fd").inspect_err(|why| {
            not_permitted += usize::from(*why == Hidden::NotPermitted);
        }) else {
            continue;
        };
        for number in numbers {
            let Ok(target) = dir.link(&format!("fd/{number}")) else {
                continue;
            };
            let is_wanted = match descriptors::numbered(&target) {
                Some(object) => wanted.contains(&object),
                None => names.contains(&visible_bytes(&target)),
            };
            if is_wanted
                && let Ok(descriptor) = descriptors::read_one(&dir, number)
                && descriptor
                    .object
                    .is_some_and(|object| wanted.contains(&object))
            {
                holders.add_descriptor(pid, &descriptor);
            }
        }
        for (object, mapped) in regions::read(&dir).unwrap_or_default() {
            if wanted.contains(&object) {
                holders.add_region(pid, object, &mapped);
            }
        }
    }
    not_permitted
}

pub(crate) fn all_processes() -> Result<BTreeMap<u32, Stat>, Hidden> {
    let processes = proc_dir::pids()?.into_iter().filter_map(|pid| {
        let dir = ProcDir::open(pid).ok()?;
        Some((pid, Stat::read(&dir, "stat").ok()?))
    });
    Ok(processes.collect())
}

/// The process that has this thread, or is this.
pub(crate) fn thread_group(id: u32) -> Option<u32> {
    let text = ProcDir::open(id).ok()?.text("status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    line.trim().parse().ok()
}

/// A process and all that descend from it, parents before children.
pub(crate) fn descendants(all: &BTreeMap<u32, Stat>, root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (&pid, stat) in all {
        children.entry(stat.parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut known = BTreeSet::from([root]);
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        found.push(pid);
        let below = children.get(&pid).into_iter().flatten().rev();
        next.extend(below.filter(|&&child| known.insert(child)));
    }
    found
}

fn ancestors(all: &BTreeMap<u32, Stat>, pid: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut at = pid;
    while let Some(stat) = all.get(&at) {
        if !found.insert(stat.parent) {
            break;
        }
        at = stat.parent;
    }
    found
}
