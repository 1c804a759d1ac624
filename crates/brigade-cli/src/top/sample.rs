//! Looks at one program again and again, as cheaply as it can: for each process one line of `stat`
//! and one of `statm`; the folder of each stays open. What is dear is read of the selected one
//! alone (`details`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::inspect::look;
use crate::inspect::picture::{Memory, State};
use crate::inspect::proc_dir::{Hidden, ProcDir, ShortFile};
use crate::inspect::process::{self, Stat};
use crate::published::{Namespace, Numbers, Pool, Published, Reader, Spawned, Worker, called};

/// The name of the process from which workers are forked.
const FORK_SERVER: &str = "brigade-server";
/// That of workers, which a program may change.
const WORKER: &str = "brigade-worker";
/// How long the program may take to answer: the next look comes soon.
const PATIENCE: Duration = Duration::from_millis(300);
/// Children of others than fork servers are looked for once in this many times.
const CHILDREN_EACH: u32 = 5;

/// A program that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) pid: u32,
    reader: Option<Reader>,
    known: BTreeMap<u32, Known>,
    threads: BTreeMap<u32, (u64, Instant)>,
    looks: u32,
    /// Where the program is in a pid namespace of its own; `None`: it was not looked for yet.
    namespace: Option<Option<Namespace>>,
    /// Its fork servers, by what it calls them.
    servers: Numbers,
}

/// The most processes whose files stay open between two looks. Each takes three descriptors, its
/// folder's and two files', and an ordinary limit is 1,024.
const KEPT_OPEN: usize = 300;

/// A process, from one look to the next.
#[derive(Debug)]
struct Known {
    dir: ProcDir,
    stat: ShortFile,
    statm: ShortFile,
    /// What the program calls it, where that may be another number.
    inside: Option<u32>,
    children: Vec<u32>,
    /// Ticks that it had used, and when.
    cpu: Option<(u64, Instant)>,
}

/// One look.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    pub(super) pid: u32,
    pub(super) name: String,
    /// `Err`: why not; `Ok(None)`: it publishes nothing.
    pub(super) published: Option<Result<Published, String>>,
    pub(super) rows: Vec<Row>,
}

/// A process, or a thread that is a worker.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) id: u32,
    /// Which of those whose process is not seen: they have the id 0.
    pub(super) nth: usize,
    /// The process that it is a thread of.
    pub(super) thread_of: Option<u32>,
    pub(super) role: Role,
    pub(super) name: String,
    pub(super) state: String,
    /// In percent of one processor; not known at the first look.
    pub(super) cpu: Option<f64>,
    pub(super) resident: Option<u64>,
    pub(super) task: Option<String>,
    pub(super) for_ns: Option<u64>,
    pub(super) ahead: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Program,
    /// Of this pool.
    Worker(u64),
    /// It has one task, and ends with it.
    Task,
    ForkServer,
    /// A worker with no task yet.
    Spare,
    /// A worker: of what is not told.
    SomeWorker,
    Child,
}

/// What is read of the selected one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Details {
    pub(super) id: u32,
    /// `None`: of a thread, which has none of its own.
    pub(super) memory: Option<Memory>,
    /// Each thread, and what it waits in.
    pub(super) waits: Vec<(String, String)>,
    pub(super) more_threads: usize,
}

impl Watched {
    pub(super) fn new(pid: u32) -> Watched {
        Watched {
            pid,
            reader: None,
            known: BTreeMap::new(),
            threads: BTreeMap::new(),
            looks: 0,
            namespace: None,
            servers: Numbers::new(),
        }
    }

    /// Looks. An error: the program has ended.
    pub(super) fn look(&mut self) -> Result<Sample, String> {
        self.looks += 1;
        let mut found = BTreeMap::new();
        let Some(program) = self.one(self.pid, true) else {
            return Err(format!("process {} has ended", self.pid));
        };
        let mut published = self.published();
        let mut sample = Sample {
            pid: self.pid,
            name: program.name.clone(),
            ..Sample::default()
        };
        found.insert(self.pid, program);
        let mut next = vec![self.pid];
        let servers = match &published {
            Some(Ok(published)) => self.servers(published.servers()),
            _ => Vec::new(),
        };
        for pid in servers {
            if let Some(stat) = self.one(pid, true)
                && stat.name == FORK_SERVER
                && found.insert(pid, stat).is_none()
            {
                next.push(pid);
            }
        }
        let mut order = Vec::new();
        while let Some(pid) = next.pop() {
            order.push(pid);
            let children = self.known.get(&pid).map(|known| known.children.clone());
            for child in children.unwrap_or_default().into_iter().rev() {
                if !found.contains_key(&child)
                    && let Some(stat) = self.one(child, false)
                {
                    found.insert(child, stat);
                    next.push(child);
                }
            }
        }
        self.known.retain(|pid, _| found.contains_key(pid));
        if let (Some(Ok(published)), Some(Some(namespace))) = (&mut published, &self.namespace) {
            let known = self.known.iter();
            let processes = known.filter_map(|(&pid, known)| Some((known.inside?, pid)));
            let program = self.known.get(&self.pid);
            let threads = program.map(|program| namespace.threads(&program.dir));
            published.renumber(&processes.collect(), &threads.unwrap_or_default());
        }
        sample.published = published;
        self.rows(&mut sample, &order, &found);
        Ok(sample)
    }

    fn published(&mut self) -> Option<Result<Published, String>> {
        if self.reader.is_none() {
            let dir = &self.known.get(&self.pid)?.dir;
            match Reader::find(dir) {
                Ok(reader) => self.reader = reader,
                Err(why) => return Some(Err(format!("what it publishes: {why}"))),
            }
        }
        let reader = self.reader.as_ref()?;
        Some(reader.read(PATIENCE))
    }

    /// A process's numbers now. `None`: it has ended.
    fn one(&mut self, pid: u32, is_parent: bool) -> Option<Stat> {
        // A folder that was opened before is that process's, and no other's.
        let before = self.known.remove(&pid);
        let is_new = before.is_none();
        let mut known = match before {
            Some(known) => known,
            None => {
                let dir = ProcDir::open(pid).ok()?;
                let namespace = self.namespace.get_or_insert_with(|| {
                    // The first that is looked at is the program.
                    Namespace::of(&dir).ok().flatten()
                });
                Known {
                    inside: namespace.as_ref().and_then(|all| all.number_of(&dir)),
                    dir,
                    stat: ShortFile::new("stat"),
                    statm: ShortFile::new("statm"),
                    children: Vec::new(),
                    cpu: None,
                }
            }
        };
        let stat = known.stat.read(&known.dir, self.known.len() < KEPT_OPEN);
        let stat = Stat::of(&stat.ok()?, "stat").ok()?;
        if is_parent || is_new || self.looks.is_multiple_of(CHILDREN_EACH) {
            known.children = children(&known.dir, pid, stat.threads).unwrap_or_default();
        }
        self.known.insert(pid, known);
        Some(stat)
    }

    /// The fork servers that the program calls by these numbers.
    fn servers(&mut self, named: Vec<u32>) -> Vec<u32> {
        let Some(Some(namespace)) = &self.namespace else {
            return named;
        };
        // They descend from another process than the program: all there are have to be asked.
        let is_new = |number: &u32| !self.servers.contains_key(number);
        if named.iter().any(is_new) && self.looks % CHILDREN_EACH == 1 {
            self.servers = namespace.find(FORK_SERVER, &named);
        }
        let known = named.iter().filter_map(|number| self.servers.get(number));
        known.copied().collect()
    }

    fn rows(&mut self, sample: &mut Sample, order: &[u32], found: &BTreeMap<u32, Stat>) {
        let published = match &sample.published {
            Some(Ok(published)) => published.clone(),
            _ => Published::default(),
        };
        let pools = &published.pools;
        let has_all = matches!(&sample.published, Some(Ok(published)) if published.has_all());
        let mut workers: BTreeMap<u32, (&Pool, &Worker)> = BTreeMap::new();
        for pool in pools {
            for worker in pool.list.iter().filter(|worker| worker.id != 0) {
                workers.insert(worker.id, (pool, worker));
            }
        }
        let tasks = published.spawned.iter().map(|task| (task.id, task));
        let tasks: BTreeMap<u32, &Spawned> = tasks.filter(|(id, _)| *id != 0).collect();
        for &pid in order {
            let Some(stat) = found.get(&pid) else {
                continue;
            };
            let (cpu, resident) = self.usage(pid, stat);
            let worker = workers.get(&pid).filter(|(pool, _)| pool.kind == "process");
            let role = match worker {
                _ if pid == self.pid => Role::Program,
                Some((pool, _)) => Role::Worker(pool.number),
                None if tasks.contains_key(&pid) => Role::Task,
                None if stat.name == FORK_SERVER => Role::ForkServer,
                None if stat.name == WORKER && has_all => Role::Spare,
                None if stat.name == WORKER => Role::SomeWorker,
                None => Role::Child,
            };
            let task = tasks.get(&pid).filter(|_| matches!(role, Role::Task));
            sample.rows.push(Row {
                id: pid,
                nth: 0,
                thread_of: None,
                role,
                name: stat.name.clone(),
                state: worker
                    .map_or(stat.state.word(), |(_, worker)| &worker.state)
                    .to_owned(),
                cpu,
                resident,
                task: worker
                    .and_then(|(_, worker)| worker.task.clone())
                    .or(task.map(|task| task.task.clone())),
                for_ns: worker
                    .and_then(|(_, worker)| worker.for_ns)
                    .or(task.map(|task| task.for_ns)),
                ahead: worker.map_or(0, |(_, worker)| worker.ahead),
            });
            if pid == self.pid {
                self.thread_rows(sample, pools);
            }
        }
        sample.rows.extend(unseen(&published));
        let order = |row: &Row| (row.role, row.thread_of.is_some());
        sample.rows.sort_by_key(order);
    }

    /// The threads of the program that are workers.
    fn thread_rows(&mut self, sample: &mut Sample, pools: &[Pool]) {
        let mut seen = BTreeSet::new();
        for pool in pools.iter().filter(|pool| pool.kind == "thread") {
            for worker in pool.list.iter().filter(|worker| worker.id != 0) {
                let Some(program) = self.known.get(&self.pid) else {
                    return;
                };
                // It may be any number that the program likes.
                let Ok(stat) = Stat::read(&program.dir, &format!("task/{}/stat", worker.id)) else {
                    continue;
                };
                if !seen.insert(worker.id) {
                    continue;
                }
                let now = Instant::now();
                let before = self.threads.insert(worker.id, (stat.cpu, now));
                sample.rows.push(Row {
                    id: worker.id,
                    nth: 0,
                    thread_of: Some(self.pid),
                    role: Role::Worker(pool.number),
                    name: stat.name,
                    state: worker.state.clone(),
                    cpu: percent(before, stat.cpu, now),
                    resident: None,
                    task: worker.task.clone(),
                    for_ns: worker.for_ns,
                    ahead: worker.ahead,
                });
            }
        }
        self.threads.retain(|tid, _| seen.contains(tid));
    }

    fn usage(&mut self, pid: u32, stat: &Stat) -> (Option<f64>, Option<u64>) {
        let keeps_open = self.known.len() <= KEPT_OPEN;
        let Some(known) = self.known.get_mut(&pid) else {
            return (None, None);
        };
        let now = Instant::now();
        let cpu = percent(known.cpu.replace((stat.cpu, now)), stat.cpu, now);
        let resident = match stat.state {
            State::Zombie => None,
            _ if stat.is_kernel => None,
            _ => {
                let statm = known.statm.read(&known.dir, keeps_open);
                statm.and_then(|statm| process::resident(&statm)).ok()
            }
        };
        (cpu, resident)
    }

    /// What is dear, of one process or thread.
    pub(super) fn details(&self, row: &Row) -> Option<Details> {
        const THREADS: usize = 4;
        let known = self.known.get(&row.thread_of.unwrap_or(row.id))?;
        let (memory, threads) = match row.thread_of {
            Some(_) => {
                let stat = Stat::read(&known.dir, &format!("task/{}/stat", row.id));
                (None, stat.map(|stat| vec![(row.id, stat)]))
            }
            None => {
                let tids = known.dir.numbers("task");
                let threads = tids.map(|tids| {
                    let stats = tids.into_iter().filter_map(|tid| {
                        let stat = Stat::read(&known.dir, &format!("task/{tid}/stat"));
                        Some((tid, stat.ok()?))
                    });
                    stats.collect::<Vec<_>>()
                });
                let stat = Stat::read(&known.dir, "stat");
                let memory = match stat {
                    Ok(stat) => process::memory(&known.dir, &stat),
                    Err(why) => Memory::not(why),
                };
                (Some(memory), threads)
            }
        };
        let threads = threads.unwrap_or_default();
        let waits = threads.iter().take(THREADS).map(|(tid, stat)| {
            let name = format!("{tid} {}", stat.name);
            let waits = match stat.state {
                State::Zombie => "has ended, and its parent has not collected it".into(),
                _ => super::waits::say(&known.dir, *tid),
            };
            (name, waits)
        });
        Some(Details {
            id: row.id,
            memory,
            waits: waits.collect(),
            more_threads: threads.len().saturating_sub(THREADS),
        })
    }
}

impl Details {
    /// `1.2 MiB private, 3.4 MiB shared`.
    pub(super) fn memory_text(&self) -> Option<String> {
        let memory = self.memory.as_ref()?;
        Some(format!("memory: {}", memory.words()))
    }
}

/// Workers that have no process yet, or one that is not seen from here.
fn unseen(published: &Published) -> Vec<Row> {
    let row = |role, id_inside, state: &str| Row {
        id: 0,
        nth: 0,
        thread_of: None,
        role,
        name: called(0, id_inside),
        state: state.to_owned(),
        cpu: None,
        resident: None,
        task: None,
        for_ns: None,
        ahead: 0,
    };
    let mut rows = Vec::new();
    for pool in &published.pools {
        for worker in pool.list.iter().filter(|worker| worker.id == 0) {
            rows.push(Row {
                task: worker.task.clone(),
                for_ns: worker.for_ns,
                ahead: worker.ahead,
                ..row(Role::Worker(pool.number), worker.id_inside, &worker.state)
            });
        }
    }
    for task in published.spawned.iter().filter(|task| task.id == 0) {
        rows.push(Row {
            task: Some(task.task.clone()),
            for_ns: Some(task.for_ns),
            ..row(Role::Task, task.id_inside, "not seen")
        });
    }
    for (nth, row) in rows.iter_mut().enumerate() {
        row.nth = nth;
    }
    rows
}

fn percent(before: Option<(u64, Instant)>, cpu: u64, now: Instant) -> Option<f64> {
    let (before, at) = before?;
    let elapsed = now.saturating_duration_since(at).as_secs_f64();
    let used = process::seconds(cpu.saturating_sub(before));
    (elapsed > 0.001).then(|| 100.0 * used / elapsed)
}

/// The children of a process, of each of its threads.
fn children(dir: &ProcDir, pid: u32, threads: u32) -> Result<Vec<u32>, Hidden> {
    let tids = if threads == 1 {
        vec![pid]
    } else {
        dir.numbers("task")?
    };
    let mut children = Vec::new();
    for tid in tids {
        match dir.text(&format!("task/{tid}/children")) {
            Ok(text) => {
                children.extend(
                    text.split_ascii_whitespace()
                        .filter_map(|word| word.parse::<u32>().ok()),
                );
            }
            // A kernel without this file: all processes say who their parents are.
            Err(Hidden::Ended) if dir.text("stat").is_ok() && tid == pid => {
                let all = look::all_processes()?;
                let ours = all.iter().filter(|(_, stat)| stat.parent == pid);
                return Ok(ours.map(|(&pid, _)| pid).collect());
            }
            Err(Hidden::Ended) => {}
            Err(why) => return Err(why),
        }
    }
    Ok(children)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_children_are_seen_come_and_go() {
        let mut watched = Watched::new(std::process::id());
        let rows = |watched: &mut Watched| watched.look().unwrap().rows;
        assert_eq!(rows(&mut watched)[0].role, Role::Program);
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let is_there = |rows: &[Row]| rows.iter().any(|row| row.id == child.id());
        let found = rows(&mut watched);
        assert!(is_there(&found), "{found:?}");
        let of_child = found.iter().find(|row| row.id == child.id()).unwrap();
        assert_eq!(of_child.role, Role::Child);
        let details = watched.details(of_child).unwrap();
        assert_eq!(details.waits.len(), 1);
        assert!(details.memory.unwrap().private.ok().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        let is_there = |rows: &[Row]| rows.iter().any(|row| row.id == child.id());
        assert!(!is_there(&rows(&mut watched)));
    }

    #[test]
    fn a_program_that_has_ended_is_an_error() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let mut watched = Watched::new(child.id());
        child.wait().unwrap();
        assert!(watched.look().unwrap_err().contains("has ended"));
    }
}
