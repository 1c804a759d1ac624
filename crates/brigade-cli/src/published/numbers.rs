//! A program in a pid namespace of its own (a container, say) knows processes by other numbers
//! than /proc has here. What it publishes is told by those that are right here.
//!
//! `NSpid` in /proc/PID/status has a number for each namespace that a process is in, from that of
//! /proc down to its own. A process of the program is in the program's namespace or in one below.

use std::collections::BTreeMap;

use super::Published;
use crate::inspect::look;
use crate::inspect::proc_dir::{Hidden, ProcDir};
use crate::inspect::process::Stat;

/// So many parents are asked for their namespace at most.
const MOST_PARENTS: usize = 32;

/// The pid namespace of a program, where that is below the one of /proc.
#[derive(Debug)]
pub(crate) struct Namespace {
    /// Which number of `NSpid` is the one in it.
    at: usize,
    /// What `/proc/PID/ns/pid` leads to.
    link: Vec<u8>,
}

/// Numbers within a namespace, and those that they are here.
pub(crate) type Numbers = BTreeMap<u32, u32>;

/// A process's number as it sees itself.
pub(crate) fn number_inside(dir: &ProcDir) -> Result<u32, Hidden> {
    numbers(dir, "status").map(|(_, last)| last)
}

/// All numbers of a process or a thread; and the last of them, its own.
fn numbers(dir: &ProcDir, path: &str) -> Result<(Vec<u32>, u32), Hidden> {
    let status = dir.text(path)?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let words = line.unwrap_or_default().split_ascii_whitespace();
    let numbers: Vec<u32> = words.filter_map(|word| word.parse().ok()).collect();
    match numbers.last() {
        Some(&last) => Ok((numbers, last)),
        None => Err(Hidden::Other("/proc/PID/status has no NSpid".into())),
    }
}

impl Namespace {
    /// `None`: the program is in that of /proc.
    pub(crate) fn of(dir: &ProcDir) -> Result<Option<Namespace>, Hidden> {
        let (numbers, _) = numbers(dir, "status")?;
        if numbers.len() < 2 {
            return Ok(None);
        }
        let link = dir.link("ns/pid")?;
        let at = numbers.len() - 1;
        Ok(Some(Namespace { at, link }))
    }

    /// What the program calls this process. `None`: it has no number in the namespace, or that
    /// cannot be known.
    pub(crate) fn number_of(&self, dir: &ProcDir) -> Option<u32> {
        let (numbers, _) = numbers(dir, "status").ok()?;
        let number = *numbers.get(self.at)?;
        self.has(dir).then_some(number)
    }

    /// What the program calls its threads.
    pub(crate) fn threads(&self, dir: &ProcDir) -> Numbers {
        let tids = dir.numbers("task").unwrap_or_default().into_iter();
        let of = |tid: u32| {
            let (numbers, _) = numbers(dir, &format!("task/{tid}/status")).ok()?;
            Some((*numbers.get(self.at)?, tid))
        };
        tids.filter_map(of).collect()
    }

    /// The processes of this name that have one of these numbers in the namespace.
    pub(crate) fn find(&self, name: &str, wanted: &[u32]) -> Numbers {
        let all = look::all_processes().unwrap_or_default().into_iter();
        let named = all.filter(|(_, stat)| stat.name == name);
        let of = |(pid, _)| {
            let number = self.number_of(&ProcDir::open(pid).ok()?)?;
            wanted.contains(&number).then_some((number, pid))
        };
        named.filter_map(of).collect()
    }

    /// Whether a process is in the namespace, or in one below: then one of its ancestors is in it.
    fn has(&self, dir: &ProcDir) -> bool {
        let is_in = |dir: &ProcDir| dir.link("ns/pid").is_ok_and(|link| link == self.link);
        if is_in(dir) {
            return true;
        }
        let mut parent = Stat::read(dir, "stat").map(|stat| stat.parent);
        for _ in 0..MOST_PARENTS {
            let Ok(pid @ 1..) = parent else {
                return false;
            };
            let Ok(dir) = ProcDir::open(pid) else {
                return false;
            };
            match numbers(&dir, "status") {
                Ok((numbers, _)) if numbers.len() > self.at => {}
                // Above the namespace: no ancestor is in it.
                _ => return false,
            }
            if is_in(&dir) {
                return true;
            }
            parent = Stat::read(&dir, "stat").map(|stat| stat.parent);
        }
        false
    }
}

impl Published {
    /// Tells processes and threads by the numbers that they have here.
    pub(crate) fn renumber(&mut self, processes: &Numbers, threads: &Numbers) {
        let change = |id: &mut u32, inside: &mut Option<u32>, numbers: &Numbers| {
            if *id != 0 {
                *inside = Some(*id);
                *id = numbers.get(id).copied().unwrap_or(0);
            }
        };
        for pool in &mut self.pools {
            let is_threads = pool.kind == "thread";
            let numbers = if is_threads { threads } else { processes };
            pool.fork_server = pool.fork_server.and_then(|id| processes.get(&id).copied());
            for worker in &mut pool.list {
                change(&mut worker.id, &mut worker.id_inside, numbers);
            }
        }
        for task in &mut self.spawned {
            change(&mut task.id, &mut task.id_inside, processes);
        }
        for written in &mut self.stderr {
            change(&mut written.id, &mut written.id_inside, processes);
        }
        // They have ended: no process has that number any more.
        for crash in &mut self.crashes {
            change(&mut crash.pid, &mut crash.pid_inside, &Numbers::new());
        }
        let servers = self.fork_servers.iter();
        self.fork_servers = servers
            .filter_map(|id| processes.get(id).copied())
            .collect();
    }

    /// How many workers and tasks have a process or thread that is not seen here.
    pub(crate) fn unseen(&self) -> usize {
        let workers = self.pools.iter().flat_map(|pool| &pool.list);
        let workers = workers.map(|worker| (worker.id, worker.id_inside));
        let tasks = self.spawned.iter().map(|task| (task.id, task.id_inside));
        workers
            .chain(tasks)
            .filter(|(id, inside)| *id == 0 && inside.is_some())
            .count()
    }
}

/// A process or thread, as it is called here, and by its program where that is another number.
pub(crate) fn called(id: u32, inside: Option<u32>) -> String {
    match (id, inside) {
        (0, Some(inside)) => format!("{inside} of its own pid namespace, not seen here,"),
        (0, None) => "without a process yet".into(),
        (id, Some(inside)) if inside != id => format!("{id} ({inside} in its pid namespace)"),
        (id, _) => id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Crash, Pool, Spawned, Worker};
    use super::*;

    #[test]
    fn numbers_are_those_of_here_or_said_not_to_be_seen() {
        let worker = |id| Worker {
            id,
            ..Worker::default()
        };
        let pool = |kind: &str, ids: &[u32]| Pool {
            kind: kind.into(),
            fork_server: Some(3),
            list: ids.iter().map(|&id| worker(id)).collect(),
            ..Pool::default()
        };
        let mut published = Published {
            pools: vec![pool("process", &[4, 5, 0]), pool("thread", &[4])],
            spawned: vec![Spawned {
                id: 6,
                ..Spawned::default()
            }],
            crashes: vec![Crash {
                pid: 4,
                ..Crash::default()
            }],
            fork_servers: vec![3, 9],
            ..Published::default()
        };
        let processes = Numbers::from([(3, 103), (4, 104), (6, 106)]);
        published.renumber(&processes, &Numbers::from([(4, 204)]));
        let list = &published.pools[0].list;
        let called = |worker: &Worker| called(worker.id, worker.id_inside);
        assert_eq!(called(&list[0]), "104 (4 in its pid namespace)");
        assert_eq!(
            called(&list[1]),
            "5 of its own pid namespace, not seen here,"
        );
        assert_eq!(called(&list[2]), "without a process yet");
        assert_eq!(published.pools[1].list[0].id, 204);
        assert_eq!(published.pools[0].fork_server, Some(103));
        assert_eq!(published.spawned[0].id, 106);
        assert_eq!(published.crashes[0].pid, 0);
        assert_eq!(published.crashes[0].pid_inside, Some(4));
        assert_eq!(published.fork_servers, [103]);
        assert_eq!(published.unseen(), 1);
    }

    #[test]
    fn a_program_in_the_namespace_of_proc_has_none_of_its_own() {
        let dir = ProcDir::open(std::process::id()).unwrap();
        assert_eq!(number_inside(&dir), Ok(std::process::id()));
        assert!(Namespace::of(&dir).unwrap().is_none());
    }
}
