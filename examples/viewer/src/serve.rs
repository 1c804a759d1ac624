//! A page that shows the tabs live: each with its state, its process, and why it died.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use brigade::Pool;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;

use crate::folder;
use crate::render;
use crate::tab::{Ended, Verdict, Viewer};

/// How often a tab's process is looked up while it runs.
const LOOK: Duration = Duration::from_millis(50);

const PAGE: &str = include_str!("page.html");

/// The tabs of a directory.
struct Tabs {
    viewer: Viewer,
    pool: Pool,
    tabs: Mutex<Vec<Tab>>,
}

struct Tab {
    path: PathBuf,
    state: State,
    /// How often it was loaded.
    loads: u32,
}

enum State {
    Loading { since: Instant, pid: Option<u32> },
    Ended { ended: Ended, took: Duration },
}

type Answer = Response<Full<Bytes>>;

/// Draws the documents of a directory, and shows how they fare until it is interrupted.
pub(crate) fn serve(viewer: &Viewer, dir: &Path, address: SocketAddr) -> Result<(), String> {
    let pool = viewer.pool().map_err(|e| e.to_string())?;
    let loading = || State::Loading {
        since: Instant::now(),
        pid: None,
    };
    let tabs: Vec<Tab> = (folder::documents(dir)?.into_iter())
        .map(|path| Tab {
            path,
            state: loading(),
            loads: 0,
        })
        .collect();
    let count = tabs.len();
    let tabs = Arc::new(Tabs {
        viewer: viewer.clone(),
        pool,
        tabs: Mutex::new(tabs),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|e| format!("{address}: {e}"))?;
        let address = listener.local_addr().map_err(|e| e.to_string())?;
        println!("http://{address}/");
        for index in 0..count {
            tokio::spawn(Arc::clone(&tabs).load(index));
        }
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(LOOK).await;
                continue;
            };
            let tabs = Arc::clone(&tabs);
            let service = service_fn(move |request| {
                let answer = tabs.answer(&request);
                async { Ok::<Answer, Infallible>(answer) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new());
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
        }
    })
}

impl Tabs {
    fn lock(&self) -> MutexGuard<'_, Vec<Tab>> {
        self.tabs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws a document in a process of its own.
    async fn load(self: Arc<Self>, index: usize) {
        let (path, load) = {
            let mut tabs = self.lock();
            let tab = &mut tabs[index];
            tab.loads += 1;
            tab.state = State::Loading {
                since: Instant::now(),
                pid: None,
            };
            (tab.path.clone(), tab.loads)
        };
        let ended = match folder::read(&path) {
            Err(why) => Ended {
                verdict: Verdict::Refused,
                why,
                picture: None,
            },
            Ok(bytes) => {
                let document = self.viewer.document(bytes);
                let mut drawing = self.pool.submit(render::render, document);
                loop {
                    tokio::select! {
                        ended = &mut drawing => break self.viewer.judge(ended),
                        () = tokio::time::sleep(LOOK) => {
                            let now = drawing.pid();
                            let tab = &mut self.lock()[index];
                            if let State::Loading { pid, .. } = &mut tab.state {
                                *pid = now;
                            }
                        }
                    }
                }
            }
        };
        let tab = &mut self.lock()[index];
        if let State::Loading { since, .. } = &tab.state
            && tab.loads == load
        {
            let took = since.elapsed();
            tab.state = State::Ended { ended, took };
        }
    }

    fn answer(self: &Arc<Self>, request: &Request<Incoming>) -> Answer {
        let path = request.uri().path();
        if request.method() == Method::POST {
            let index = path.strip_prefix("/reload/").and_then(|n| n.parse().ok());
            return match index.filter(|index| self.is_ended(*index)) {
                Some(index) => {
                    tokio::spawn(Arc::clone(self).load(index));
                    answer(StatusCode::ACCEPTED, "text/plain", "reloading\n".into())
                }
                None => answer(StatusCode::NOT_FOUND, "text/plain", "no such tab\n".into()),
            };
        }
        match path {
            "/" => answer(StatusCode::OK, "text/html; charset=utf-8", PAGE.into()),
            "/tabs" => {
                let tabs = serde_json::Value::from_iter(self.lock().iter().map(Tab::describe));
                answer(StatusCode::OK, "application/json", tabs.to_string().into())
            }
            path => {
                let index = path.strip_prefix("/picture/").and_then(|n| n.parse().ok());
                match index.and_then(|index| self.picture(index)) {
                    Some(png) => answer(StatusCode::OK, "image/png", png.into()),
                    None => answer(
                        StatusCode::NOT_FOUND,
                        "text/plain",
                        "nothing there\n".into(),
                    ),
                }
            }
        }
    }

    fn is_ended(&self, index: usize) -> bool {
        let tabs = self.lock();
        let tab = tabs.get(index);
        tab.is_some_and(|tab| matches!(tab.state, State::Ended { .. }))
    }

    fn picture(&self, index: usize) -> Option<Vec<u8>> {
        let picture = match &self.lock().get(index)?.state {
            State::Ended { ended, .. } => ended.picture.clone()?,
            State::Loading { .. } => return None,
        };
        let mut png = Vec::new();
        picture.write_png(&mut png).ok()?;
        Some(png)
    }
}

impl Tab {
    fn describe(&self) -> serde_json::Value {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let mut described = HashMap::from([("name", json!(name)), ("loads", json!(self.loads))]);
        match &self.state {
            State::Loading { since, pid } => {
                described.insert("state", json!("loading"));
                described.insert("pid", json!(pid));
                described.insert("ms", json!(since.elapsed().as_millis() as u64));
            }
            State::Ended { ended, took } => {
                described.insert("state", json!(ended.verdict));
                described.insert("why", json!(ended.why));
                described.insert("ms", json!(took.as_millis() as u64));
            }
        }
        json!(described)
    }
}

fn answer(status: StatusCode, kind: &str, body: Bytes) -> Answer {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .header(header::CACHE_CONTROL, "no-store")
        .body(Full::new(body))
        .expect("all headers are valid")
}
