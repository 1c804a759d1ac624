//! Chaos: three servers that write to disk at once, worker programs, and whatever can happen to
//! them; then it is counted what was lost, what has two results, and what hangs.
//!
//! `scripts/cluster chaos [--tasks N] [--worker-kills N] [--server-kills N] [--copies N] [--cuts N]`;
//! without these it is the full count. A small one is a test.

mod proxy;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::stream::Stream;
use brigade_cluster::Pool;
use brigade_test_support::wait::pause;
use futures_util::StreamExt;

use self::proxy::Proxy;
use crate::block_on;
use crate::server::Server;
use crate::tasks::double_slowly;
use crate::worker::{Program, settings};

pub(crate) const TESTS: &[(&str, fn())] = &[("chaos::a_small_count", a_small_count)];

/// Nothing comes for so long: it hangs.
const HANG: Duration = Duration::from_secs(120);

/// How many worker programs there are, and how many tasks each runs at a time.
const WORKERS: (usize, &str) = (4, "2");

/// What is to happen while the tasks run.
#[derive(Clone, Copy, Debug)]
struct Plan {
    tasks: usize,
    worker_kills: usize,
    server_kills: usize,
    copies: usize,
    cuts: usize,
}

const FULL: Plan = Plan {
    tasks: 10_000,
    worker_kills: 1_000,
    server_kills: 50,
    copies: 1_000,
    cuts: 500,
};

const SMALL: Plan = Plan {
    tasks: 120,
    worker_kills: 6,
    server_kills: 2,
    copies: 10,
    cuts: 5,
};

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    results: usize,
    wrong: Vec<String>,
    lost: usize,
    twice: usize,
    hangs: usize,
    worker_kills: usize,
    worker_stops: usize,
    server_kills: usize,
    server_stops: usize,
    copies: usize,
    cuts: usize,
}

impl Seen {
    fn is_fine(&self) -> bool {
        self.lost + self.twice + self.hangs == 0 && self.wrong.is_empty()
    }
}

/// `program --chaos …`.
pub(crate) fn main(arguments: &[String]) {
    let mut plan = FULL;
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let count = words.next().and_then(|count| count.parse().ok());
        let field = match word.as_str() {
            "--tasks" => &mut plan.tasks,
            "--worker-kills" => &mut plan.worker_kills,
            "--server-kills" => &mut plan.server_kills,
            "--copies" => &mut plan.copies,
            "--cuts" => &mut plan.cuts,
            _ => panic!("there is no {word}"),
        };
        *field = count.unwrap_or_else(|| panic!("{word} takes a number"));
    }
    let began = Instant::now();
    let seen = run(plan);
    println!("{plan:?}\n{seen:#?}\nin {:?}", began.elapsed());
    assert!(seen.is_fine(), "it is not as it has to be");
}

fn a_small_count() {
    let seen = run(SMALL);
    assert!(seen.is_fine(), "{seen:?}");
    assert_eq!(seen.results, SMALL.tasks, "{seen:?}");
    let happened = [
        (seen.worker_kills + seen.worker_stops, SMALL.worker_kills),
        (seen.server_kills + seen.server_stops, SMALL.server_kills),
        (seen.copies, SMALL.copies),
        (seen.cuts, SMALL.cuts),
    ];
    for (count, planned) in happened {
        assert_eq!(count, planned, "{seen:?}");
    }
}

fn run(plan: Plan) -> Seen {
    let proxies = [(); 3].map(|()| Proxy::start());
    let servers = Server::start_three(Some(proxies.each_ref().map(Proxy::port)));
    for (proxy, server) in proxies.iter().zip(&servers) {
        proxy.leads_to(server.port());
    }
    let urls = proxies
        .each_ref()
        .map(|proxy| format!("nats://127.0.0.1:{}", proxy.port()));
    let url = urls.join(",");
    // How many results are there: what is to happen is spread over them.
    let progress = Progress {
        plan,
        done: Arc::default(),
        worker_kills: Arc::default(),
        server_kills: Arc::default(),
        is_over: Arc::default(),
    };
    let mut seen = Seen::default();
    block_on(async {
        let pool = connect(&url).await;
        let workers = kill_workers(plan.worker_kills, url.clone(), progress.clone());
        let servers = kill_servers(plan.server_kills, servers, progress.clone());
        let cuts = cut(plan.cuts, proxies, progress.clone());
        let copies = tokio::spawn(copy(plan.copies, url.clone(), progress.clone()));

        let mut got = vec![0; plan.tasks];
        let mut results = pool.map_unordered(double_slowly, 0..plan.tasks as u64);
        loop {
            match tokio::time::timeout(HANG, results.next()).await {
                Ok(Some((number, Ok(result)))) => {
                    got[number] += 1;
                    if result != 2 * number as u64 {
                        seen.wrong.push(format!("{number}: {result}"));
                    }
                }
                Ok(Some((number, Err(e)))) => {
                    got[number] += 1;
                    seen.wrong.push(format!("{number}: {e}"));
                }
                Ok(None) => break,
                Err(_) => {
                    seen.hangs += got.iter().filter(|count| **count == 0).count();
                    break;
                }
            }
            progress.done.fetch_add(1, Ordering::Relaxed);
            while progress.is_behind() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        drop(results);
        seen.results = got.iter().sum();
        // What is left of the plan happens all the same, also after a hang.
        progress.done.store(usize::MAX / 2, Ordering::Relaxed);
        seen.copies = copies.await.expect("it copies");
        let wait = |thread: std::thread::JoinHandle<_>| {
            tokio::task::spawn_blocking(move || thread.join().expect("it does not panic"))
        };
        (seen.server_kills, seen.server_stops) = wait(servers.0).await.expect("it ends");
        (seen.worker_kills, seen.worker_stops) = wait(workers).await.expect("it ends");
        (seen.cuts, _) = wait(cuts).await.expect("it ends");

        let told = kept(&pool, &url, plan.tasks).await;
        seen.lost = (0..plan.tasks as u64)
            .filter(|n| !told.contains_key(n))
            .count();
        seen.twice = told.values().filter(|count| **count > 1).count();
        progress.is_over.store(true, Ordering::Relaxed);
        drop(servers.1);
    });
    seen
}

/// How often each task's end was written: also what was written and is there no more counts.
async fn kept(pool: &Pool, url: &str, tasks: usize) -> BTreeMap<u64, u64> {
    let mut told = BTreeMap::new();
    let job = pool.job().expect("a job").to_owned();
    let mut results = pool.reattach(&job, double_slowly).expect("it is exported");
    for _ in 0..tasks {
        match tokio::time::timeout(HANG, results.next()).await {
            Ok(Some((number, _))) => *told.entry(number).or_default() += 1,
            _ => break,
        }
    }
    let results = stream(url, "KV_brigade-app-results").await;
    let state = &results.cached_info().state;
    // One write for each task, and none that took the place of another.
    if state.last_sequence != tasks as u64 || state.messages != tasks as u64 {
        told.insert(u64::MAX, state.last_sequence.max(2));
    }
    told
}

async fn connect(url: &str) -> Pool {
    let durable = settings()
        .replicas(3)
        .request_timeout(Duration::from_secs(5))
        .patience(Duration::from_secs(100));
    let until = Instant::now() + HANG;
    loop {
        // They have to find each other first.
        let builder = Pool::builder(url, "app").settings(durable.clone());
        match builder.build("chaos").in_flight(200).connect().await {
            Ok(pool) => return pool,
            Err(e) => assert!(Instant::now() < until, "no connection: {e}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn stream(url: &str, name: &str) -> Stream {
    loop {
        let urls: Vec<_> = url.split(',').map(str::to_owned).collect();
        if let Ok(client) = async_nats::connect(urls).await {
            let context = async_nats::jetstream::new(client);
            if let Ok(stream) = context.get_stream(name).await {
                return stream;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[derive(Clone)]
struct Progress {
    plan: Plan,
    done: Arc<AtomicUsize>,
    /// How many have been done of what is planned.
    worker_kills: Arc<AtomicUsize>,
    server_kills: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl Progress {
    /// Whether more than one is due of what is planned: then the tasks wait, for all of it is to
    /// happen while they run.
    fn is_behind(&self) -> bool {
        let is_behind = |done: &AtomicUsize, planned: usize| {
            let next = done.load(Ordering::Relaxed) + 1;
            next < planned && self.is_due(next, planned)
        };
        is_behind(&self.worker_kills, self.plan.worker_kills)
            || is_behind(&self.server_kills, self.plan.server_kills)
    }

    /// Whether it is time for this one of so many.
    fn is_due(&self, number: usize, of: usize) -> bool {
        let at = self.plan.tasks * (number + 1) / (of + 1);
        self.done.load(Ordering::Relaxed) >= at
    }

    fn wait(&self, number: usize, of: usize) {
        let until = Instant::now() + 20 * HANG;
        while !self.is_due(number, of) && Instant::now() < until {
            pause(Duration::from_millis(2));
        }
    }
}

/// How often it was done in one way, and how often in the other.
type Twofold = std::thread::JoinHandle<(usize, usize)>;

/// SIGKILL, and SIGSTOP for longer than a worker has to give a sign of life, in turn. Two are
/// stopped at a time, at most.
fn kill_workers(count: usize, url: String, progress: Progress) -> Twofold {
    const STOPPED: Duration = Duration::from_millis(1300);
    std::thread::spawn(move || {
        let start = || Program::start_chaos(&url, WORKERS.1);
        let mut workers: VecDeque<_> = (0..WORKERS.0).map(|_| start()).collect();
        let mut stopped: VecDeque<(Program, Instant)> = VecDeque::new();
        let (mut kills, mut stops) = (0, 0);
        for number in 0..count {
            progress.wait(number, count);
            let worker = workers.pop_front().expect("two are left");
            if number % 2 == 0 {
                worker.kill();
                workers.push_back(start());
                kills += 1;
            } else {
                worker.pause();
                stopped.push_back((worker, Instant::now()));
                stops += 1;
            }
            if stopped.len() == 2 || number + 1 == count {
                let (worker, since) = stopped.pop_front().expect("one is stopped");
                pause(STOPPED.saturating_sub(since.elapsed()));
                worker.go_on();
                workers.push_back(worker);
            }
            progress.worker_kills.store(number + 1, Ordering::Relaxed);
        }
        for (worker, since) in stopped {
            pause(STOPPED.saturating_sub(since.elapsed()));
            worker.go_on();
            workers.push_back(worker);
        }
        // The workers live until all is looked at.
        std::thread::spawn(move || {
            while !progress.is_over.load(Ordering::Relaxed) {
                pause(Duration::from_millis(10));
            }
            drop(workers);
        });
        (kills, stops)
    })
}

/// One at a time: SIGKILL and a new start, and SIGSTOP, in turn.
fn kill_servers(
    count: usize,
    servers: [Server; 3],
    progress: Progress,
) -> (Twofold, std::sync::mpsc::Receiver<[Server; 3]>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut servers = servers;
        let (mut kills, mut stops) = (0, 0);
        for number in 0..count {
            progress.wait(number, count);
            let server = &mut servers[number % 3];
            if number % 2 == 0 {
                server.kill();
                pause(Duration::from_millis(200));
                server.restart();
                kills += 1;
            } else {
                server.pause();
                pause(Duration::from_millis(1500));
                server.go_on();
                stops += 1;
            }
            progress.server_kills.store(number + 1, Ordering::Relaxed);
        }
        let _ = sender.send(servers);
        (kills, stops)
    });
    (thread, receiver)
}

/// Cuts all connections to one server, which stays.
fn cut(count: usize, proxies: [Proxy; 3], progress: Progress) -> Twofold {
    std::thread::spawn(move || {
        for number in 0..count {
            progress.wait(number, count);
            proxies[number % 3].cut();
        }
        std::thread::spawn(move || {
            while !progress.is_over.load(Ordering::Relaxed) {
                pause(Duration::from_millis(10));
            }
            drop(proxies);
        });
        (count, 0)
    })
}

/// Publishes copies of tasks, which the servers cannot tell from other tasks.
async fn copy(count: usize, url: String, progress: Progress) -> usize {
    let queue = stream(&url, "brigade-app-tasks").await;
    let urls: Vec<_> = url.split(',').map(str::to_owned).collect();
    let client = async_nats::connect(urls).await.expect("it connects");
    let context = async_nats::jetstream::new(client);
    let mut done = 0;
    // The last task that was read: at the end there is none in the queue any more.
    let mut last = None;
    while done < count {
        if !progress.is_due(done, count) && last.is_some() {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        }
        if let Ok(info) = queue.get_info().await {
            if let Ok(message) = queue.get_raw_message(info.state.first_sequence).await {
                last = Some(message);
            }
        }
        let Some(original) = &last else {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        };
        let mut headers = HeaderMap::new();
        for (name, values) in original.headers.iter() {
            if name.to_string() != "Nats-Msg-Id" {
                headers.insert(name.clone(), values[0].clone());
            }
        }
        let (subject, body) = (original.subject.clone(), original.payload.clone());
        let sending = context.publish_with_headers(subject, headers, body);
        if let Ok(sent) = sending.await {
            if sent.await.is_ok() {
                done += 1;
            }
        }
    }
    done
}
