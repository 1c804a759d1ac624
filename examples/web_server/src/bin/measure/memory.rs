//! What a server takes of the machine's memory.

use std::collections::HashMap;
use std::fs;

/// The processes that descend from this one, and itself. The fork server of a Brigade program is no
/// child of it, but in its session and named after it: it is found by its parent's number in its
/// environment of processes, which is the process group.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut parents: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut same_group = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // The name, in parentheses, may have spaces in it: proc(5).
        let Some((_, rest)) = stat.rsplit_once(") ") else {
            continue;
        };
        let mut numbers = rest.split(' ').skip(1).map(|n| n.parse().unwrap_or(0));
        let (parent, group) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        parents.entry(parent).or_default().push(pid);
        if group == root {
            same_group.push(pid);
        }
    }
    let mut found = vec![root];
    found.extend(same_group.into_iter().filter(|pid| *pid != root));
    let mut next = 0;
    while next < found.len() {
        for child in parents.get(&found[next]).into_iter().flatten() {
            if !found.contains(child) {
                found.push(*child);
            }
        }
        next += 1;
    }
    found
}

/// Bytes, with each page that several share counted once in all: proc(5), `Pss`.
pub(crate) fn of_tree(root: u32) -> u64 {
    let pss = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    tree(root).into_iter().filter_map(pss).sum::<u64>() << 10
}
