//! Who may do what, and as whom a program connects.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use async_nats::ConnectOptions;
use brigade_cluster::{Access, Error, Pool, Served, Settings, Status, Worker};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::block_on;
use crate::server::Server;
use crate::status::{command, text};
use crate::tasks::{double, panics, reversed};
use crate::worker::{settings, soon};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("roles::they_can_do_their_work", they_can_do_their_work),
    ("roles::they_can_do_no_more", they_can_do_no_more),
    ("roles::tls", tls),
    ("roles::nkeys", nkeys),
];

/// The configuration that the documentation shows.
const ROLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/roles.conf");

const ALL: [&str; 4] = ["admin", "submitter", "worker", "observer"];

fn password(role: &str) -> String {
    format!("{role}-password")
}

/// A server with the roles, whose admin has made the streams of `thumbs` and of `other`.
fn start() -> (Server, TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    for role in ALL {
        let line = format!("{}\n", password(role));
        fs::write(dir.path().join(role), line).expect("a file");
    }
    let name = |role: &str| format!("{}_PASSWORD", role.to_uppercase());
    let passwords = ALL.map(|role| (name(role), password(role)));
    let server = Server::start_with(&["--config", ROLES], &passwords);
    for app in ["thumbs", "other"] {
        let made = as_role(
            &["make", &server.url(), app, "--build", "v1"],
            "admin",
            dir.path(),
        );
        assert!(made.status.success(), "{made:?}");
    }
    (server, dir)
}

fn as_role(arguments: &[&str], role: &str, dir: &Path) -> std::process::Output {
    let file = dir.join(role).display().to_string();
    let prefix = format!("_INBOX_{role}");
    let who = [
        "--user",
        role,
        "--password-file",
        &file,
        "--inbox-prefix",
        &prefix,
    ];
    command(&[arguments, &who].concat())
}

fn access(role: &str) -> Settings {
    let access = Access::default()
        .user_and_password(role, &password(role))
        .inbox_prefix(&format!("_INBOX_{role}"));
    settings().access(access)
}

/// A worker in this program.
pub(crate) struct Serving {
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<Result<Served, Error>>,
}

impl Serving {
    pub(crate) fn start(url: &str, app: &str, settings: Settings) -> Serving {
        let local = brigade::Pool::processes(1).expect("a pool");
        let worker = Worker::new(url, app, local).settings(settings).build("v1");
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        Serving {
            stop,
            served: tokio::spawn(async move {
                let served = worker.run_until(stopped).await;
                if let Err(e) = &served {
                    eprintln!("the worker: {e}");
                }
                served
            }),
        }
    }

    pub(crate) async fn stop(self) -> Served {
        let _ = self.stop.send(());
        let served = soon(self.served).await.expect("it does not panic");
        served.expect("it serves")
    }
}

async fn pool(url: &str, app: &str, settings: Settings) -> Pool {
    let builder = Pool::builder(url, app).settings(settings).build("v1");
    builder.connect().await.expect("it connects")
}

fn they_can_do_their_work() {
    let (server, dir) = start();
    block_on(async {
        let pool = pool(&server.url(), "thumbs", access("submitter")).await;
        let cancelled = pool.submit(double, 1).await;
        cancelled.cancel().await.unwrap();
        assert!(soon(cancelled).await.unwrap_err().is_cancelled());
        let worker = Serving::start(&server.url(), "thumbs", access("worker"));
        assert_eq!(soon(pool.submit(double, 2).await).await.unwrap(), 4);
        let large: Vec<u8> = (0..1 << 20).map(|n| (n % 251) as u8).collect();
        let result = soon(pool.submit(reversed, large.clone()).await).await;
        assert!(result.unwrap().iter().rev().eq(&large));
        let panicked = soon(pool.submit(panics, "why".to_owned()).await).await;
        assert!(panicked.unwrap_err().is_panic());
        let timed = pool
            .task(double)
            .deadline(std::time::Duration::from_secs(600));
        let timed = timed.only_if_offered().submit(3).await;
        assert_eq!(soon(timed).await.unwrap(), 6);
        let mut results = pool.reattach(pool.job().unwrap(), double).unwrap();
        let first = soon(futures_util::StreamExt::next(&mut results)).await;
        assert!(first.unwrap().1.unwrap_err().is_cancelled());

        let told = as_role(&["status", &server.url(), "thumbs"], "observer", dir.path());
        assert!(text(&told).contains("v1"), "{told:?}");
        let status = Status::of(&server.url(), "thumbs", &access("observer")).await;
        assert_eq!(status.unwrap().workers.len(), 1);
        let served = worker.stop().await;
        assert_eq!((served.ended(), served.lost()), (4, 1), "{served}");
        let purged = as_role(&["purge", &server.url(), "thumbs"], "admin", dir.path());
        assert!(text(&purged).contains("0 tasks"), "{purged:?}");
    });
}

/// What is refused to a connection, as the server says it.
#[derive(Clone, Default)]
struct Refused(Arc<Mutex<String>>);

async fn raw(server: &Server, role: &str) -> (async_nats::Client, Refused) {
    let refused = Refused::default();
    let told = refused.clone();
    let options = ConnectOptions::new()
        .user_and_password(role.to_owned(), password(role))
        .event_callback(move |event| {
            let told = told.clone();
            async move {
                let mut told = told.0.lock().unwrap();
                told.push_str(&event.to_string().to_lowercase());
                told.push('\n');
            }
        });
    let client = options.connect(server.url()).await.unwrap();
    (client, refused)
}

fn they_can_do_no_more() {
    let (server, dir) = start();
    let all = [
        "brigade.other.tasks.v1",
        "$KV.brigade-other-results.Job.0",
        "$JS.API.STREAM.INFO.brigade-other-tasks",
        "$JS.API.STREAM.PURGE.brigade-thumbs-tasks",
        "$JS.API.STREAM.PURGE.KV_brigade-thumbs-results",
        "$JS.API.STREAM.DELETE.brigade-thumbs-tasks",
        "$JS.API.STREAM.UPDATE.brigade-thumbs-tasks",
        "$JS.API.STREAM.MSG.GET.brigade-thumbs-tasks",
        "$JS.API.STREAM.MSG.DELETE.brigade-thumbs-tasks",
        "$JS.API.CONSUMER.DELETE.brigade-thumbs-tasks.v1",
        "$JS.API.CONSUMER.CREATE.KV_brigade-thumbs-attempts.x.y",
    ];
    let submitter = [
        "$JS.API.CONSUMER.MSG.NEXT.brigade-thumbs-tasks.v1",
        "$JS.API.CONSUMER.CREATE.brigade-thumbs-tasks.v2",
        "$JS.API.CONSUMER.CREATE.brigade-thumbs-tasks.v2.brigade.thumbs.tasks.v2",
        "$JS.API.CONSUMER.DURABLE.CREATE.brigade-thumbs-tasks.v2",
        "$JS.ACK.brigade-thumbs-tasks.v1.1.1.1.1.0",
        "$KV.brigade-thumbs-attempts.Job.0.1",
        "$KV.brigade-thumbs-workers.mine",
        "brigade.thumbs.dead",
    ];
    let worker = [
        "brigade.thumbs.tasks.v1",
        "$JS.API.CONSUMER.CREATE.KV_brigade-thumbs-results.x.y",
        "$JS.API.CONSUMER.MSG.NEXT.brigade-other-tasks.v1",
    ];
    let observer = [
        &submitter[..],
        &worker,
        &[
            "$KV.brigade-thumbs-results.Job.0",
            "$O.brigade-thumbs-objects.C.x",
            "$JS.API.CONSUMER.CREATE.OBJ_brigade-thumbs-objects.x.y",
            "$JS.API.DIRECT.GET.KV_brigade-thumbs-results.$KV.brigade-thumbs-results.Job.0",
            "$JS.API.STREAM.MSG.GET.KV_brigade-thumbs-results",
        ],
    ]
    .concat();
    let listens = ["brigade.thumbs.tasks.*", "_INBOX.>", "$KV.>", ">"];
    block_on(async {
        for (role, forbidden) in [
            ("submitter", &submitter[..]),
            ("worker", &worker),
            ("observer", &observer),
        ] {
            let (client, refused) = raw(&server, role).await;
            let mut expected = Vec::new();
            for subject in all.iter().chain(forbidden) {
                client.publish(*subject, "{}".into()).await.unwrap();
                expected.push(format!("publish to \"{subject}\"").to_lowercase());
            }
            let mut listening = Vec::new();
            let others = ALL.iter().filter(|other| **other != role);
            let inboxes = others.map(|other| format!("_INBOX_{other}.>"));
            for subject in inboxes.chain(listens.map(str::to_owned)) {
                expected.push(format!("subscription to \"{subject}\"").to_lowercase());
                listening.push(client.subscribe(subject).await.unwrap());
            }
            client.flush().await.unwrap();
            for words in expected {
                crate::server::until(&format!("{role} is refused: {words}"), || {
                    let told = refused.0.lock().unwrap();
                    told.contains(&words).then_some(())
                });
            }
        }
        let status = Status::of(&server.url(), "thumbs", &access("admin")).await;
        let status = status.unwrap();
        assert_eq!((status.queued, status.results, status.dead), (0, 0, 0));
        assert!(status.workers.is_empty());
        for arguments in [
            &["purge", &server.url(), "thumbs"][..],
            &["make", &server.url(), "x"],
        ] {
            let ran = as_role(arguments, "observer", dir.path());
            assert_eq!(ran.status.code(), Some(1), "{ran:?}");
        }
        let stranger =
            access("submitter").access(Access::default().user_and_password("submitter", "guess"));
        for settings in [settings(), stranger] {
            let builder = Pool::builder(&server.url(), "thumbs").settings(settings);
            let why = soon(builder.connect()).await.unwrap_err();
            assert!(matches!(why, Error::Connect { .. }), "{why}");
            assert!(
                why.to_string().to_lowercase().contains("authorization"),
                "{why}"
            );
        }
    });
}

/// Makes certificates with openssl; `None`: there is none.
fn certificates(dir: &Path) -> Option<()> {
    let openssl = |arguments: &[&str]| {
        let ran = Command::new("openssl")
            .args(arguments)
            .current_dir(dir)
            .output();
        let ran = ran.ok()?;
        assert!(ran.status.success(), "{ran:?}");
        Some(())
    };
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ];
    let extensions = "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n";
    fs::write(dir.join("extensions"), extensions).expect("a file");
    for root in ["ca", "stranger"] {
        let (file, keys) = (format!("{root}.pem"), format!("{root}.key"));
        let subject = format!("/CN={root}");
        let make = [
            "req", "-x509", "-days", "30", "-subj", &subject, "-keyout", &keys, "-out", &file,
        ];
        openssl(&[&make[..], &key].concat())?;
    }
    for name in ["server", "client"] {
        let [file, keys, request] = ["pem", "key", "csr"].map(|end| format!("{name}.{end}"));
        let subject = format!("/CN={name}");
        let make = ["req", "-subj", &subject, "-keyout", &keys, "-out", &request];
        openssl(&[&make[..], &key].concat())?;
        openssl(&[
            "x509",
            "-req",
            "-days",
            "30",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-extfile",
            "extensions",
            "-out",
            &file,
        ])?;
    }
    Some(())
}

pub(crate) fn config(dir: &Path, text: &str) -> PathBuf {
    let file = dir.join("server.conf");
    fs::write(&file, text).expect("a file");
    file
}

fn tls() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    if certificates(dir.path()).is_none() {
        eprintln!("SKIPPED: roles::tls: there is no openssl");
        return;
    }
    let file = |name: &str| path(name).display().to_string();
    let text = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\n",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    );
    let config = config(dir.path(), &text);
    let server = Server::start_with(&["--config", &config.display().to_string()], &[]);
    block_on(async {
        let known = || Access::default().root_certificates(path("ca.pem"));
        let known_to = || known().client_certificate(path("client.pem"), path("client.key"));
        let ours = || settings().access(known_to());
        let worker = Serving::start(&server.url(), "app", ours());
        let pool = pool(&server.url(), "app", ours()).await;
        assert_eq!(soon(pool.submit(double, 2).await).await.unwrap(), 4);
        assert_eq!(worker.stop().await.ended(), 1);
        let told = command(&[
            "status",
            &server.url(),
            "app",
            "--ca",
            &file("ca.pem"),
            "--cert",
            &file("client.pem"),
            "--key",
            &file("client.key"),
        ]);
        assert!(text_of(&told).contains("tasks queued"), "{told:?}");

        let stranger = Access::default().root_certificates(path("stranger.pem"));
        let stranger = stranger.client_certificate(path("client.pem"), path("client.key"));
        for access in [Access::default(), known(), stranger] {
            let builder = Pool::builder(&server.url(), "app").settings(settings().access(access));
            let why = soon(builder.connect()).await.unwrap_err();
            assert!(matches!(why, Error::Connect { .. }), "{why}");
        }
        // A server that has none is refused by who needs it.
        let plain = Server::start();
        let access = settings().access(Access::default().require_tls());
        let builder = Pool::builder(&plain.url(), "app").settings(access);
        let why = soon(builder.connect()).await.unwrap_err();
        assert!(matches!(why, Error::Connect { .. }), "{why}");
    });
}

fn text_of(output: &std::process::Output) -> String {
    text(output)
}

fn nkeys() {
    let dir = tempfile::tempdir().unwrap();
    let keys = ::nkeys::KeyPair::new_user();
    let stranger = ::nkeys::KeyPair::new_user();
    let seed = |name: &str, keys: &::nkeys::KeyPair| {
        let file = dir.path().join(name);
        fs::write(&file, format!("{}\n", keys.seed().unwrap())).unwrap();
        file
    };
    let text = format!(
        "authorization {{ users: [ {{ nkey: {} }} ] }}\n",
        keys.public_key()
    );
    let config = config(dir.path(), &text);
    let server = Server::start_with(&["--config", &config.display().to_string()], &[]);
    block_on(async {
        let of = |file: PathBuf| settings().access(Access::default().nkey_file(file));
        let ours = seed("ours", &keys);
        let pool = pool(&server.url(), "app", of(ours.clone())).await;
        let worker = Serving::start(&server.url(), "app", of(ours));
        assert_eq!(soon(pool.submit(double, 2).await).await.unwrap(), 4);
        assert_eq!(worker.stop().await.ended(), 1);
        let theirs = of(seed("theirs", &stranger));
        let builder = Pool::builder(&server.url(), "app").settings(theirs);
        let why = soon(builder.connect()).await.unwrap_err();
        assert!(matches!(why, Error::Connect { .. }), "{why}");
    });
}
