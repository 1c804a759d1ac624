//! What answers a request: files and waiting here, computing in the pool.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use brigade::{Descriptor, JoinError, Message, Pool};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::body::Content;
use crate::config::Limits;
use crate::files::{self, Root};
use crate::front::{Phase, Start};
use crate::handlers::{self, Fault, Input};
use crate::upstream;

/// What answers the requests of one front. A clone is for one connection.
#[derive(Clone)]
pub(crate) struct Service(Arc<Inner>);

struct Inner {
    root: Root,
    pool: Pool,
    limits: Limits,
    upstream: Option<SocketAddr>,
    has_status: bool,
    has_faults: bool,
    generation: u32,
    phase: watch::Receiver<Phase>,
    room: Arc<Semaphore>,
    answered: Answered,
}

/// Requests that were answered, by what with.
#[derive(Default)]
struct Answered {
    ok: AtomicU64,
    client_errors: AtomicU64,
    server_errors: AtomicU64,
}

type Answer = Result<Response<Content>, StatusCode>;

impl Service {
    pub(crate) fn new(
        start: &Start,
        pool: Pool,
        phase: watch::Receiver<Phase>,
        room: Arc<Semaphore>,
    ) -> io::Result<Service> {
        let config = &start.config;
        Ok(Service(Arc::new(Inner {
            root: Root::open(&config.root)?,
            pool,
            limits: config.limits.clone(),
            upstream: config.upstream,
            has_status: config.status,
            has_faults: config.faults,
            generation: start.generation,
            phase,
            room,
            answered: Answered::default(),
        })))
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Content>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Content>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { Ok(inner.respond(request).await) })
    }
}

impl Inner {
    async fn respond(&self, request: Request<Incoming>) -> Response<Content> {
        let is_head = request.method() == Method::HEAD;
        let has_body = !request.body().is_end_stream();
        let mut response = match self.route(request).await {
            Ok(response) => response,
            Err(status) => error(status),
        };
        let headers = response.headers_mut();
        headers.insert(
            header::SERVER,
            HeaderValue::from_static("brigade-web-server"),
        );
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        let is_refused = response.status().is_client_error() && has_body;
        if is_refused || *self.phase.borrow() != Phase::Serving {
            // What is left of a body that is refused is not worth reading.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        let count = match response.status().as_u16() {
            ..400 => &self.answered.ok,
            400..500 => &self.answered.client_errors,
            500.. => &self.answered.server_errors,
        };
        count.fetch_add(1, Ordering::Relaxed);
        if is_head && response.status() != StatusCode::NOT_MODIFIED {
            // Its length stays in the head.
            let len = response.body().size_hint().exact().unwrap_or(0);
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, len.into());
            *response.body_mut() = Content::none();
        }
        response
    }

    async fn route(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        let is_get = matches!(*request.method(), Method::GET | Method::HEAD);
        // RFC 9112, 3.2: one name of a host, which proxies before this one went by.
        let hosts = request.headers().get_all(header::HOST).iter().count();
        if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
            return Err(StatusCode::BAD_REQUEST);
        }
        match path.as_str() {
            "/status" if self.has_status && is_get => Ok(self.status()),
            "/gzip" if request.method() == Method::POST => self.compress_body(request).await,
            _ if !is_get => Err(StatusCode::METHOD_NOT_ALLOWED),
            path => {
                if let Some(file) = path.strip_prefix("/gzip/") {
                    return self.compress_file(file).await;
                }
                if let (Some(rest), Some(server)) = (path.strip_prefix("/upstream"), self.upstream)
                    && rest.starts_with('/')
                {
                    let query = request.uri().query().map(|q| format!("?{q}"));
                    let asked = format!("{rest}{}", query.unwrap_or_default());
                    return upstream::get(server, &asked, self.limits.request_time).await;
                }
                if let Some(name) = path.strip_prefix("/fault/").filter(|_| self.has_faults) {
                    let fault = Fault::named(name).ok_or(StatusCode::NOT_FOUND)?;
                    let broken = self.run(handlers::break_worker, fault).await?;
                    return Ok(match broken {
                        Ok(pid) => text(StatusCode::OK, format!("{pid}\n")),
                        Err(why) => text(StatusCode::FORBIDDEN, format!("{why}\n")),
                    });
                }
                files::serve(&self.root, path, &request)
            }
        }
    }

    async fn compress_file(&self, path: &str) -> Answer {
        let (file, metadata) = self.root.find_file(path)?;
        if metadata.len() > handlers::LARGEST {
            return Err(StatusCode::NOT_FOUND);
        }
        let kind = mime_guess::from_path(path).first_raw();
        let input = Input::File(Descriptor(file));
        self.compress(input, kind.unwrap_or("application/octet-stream"))
            .await
    }

    async fn compress_body(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        if body.size_hint().lower() > self.limits.body as u64 {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let body = Limited::new(body, self.limits.body).collect();
        let body = match timeout(self.limits.body_time, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(e)) if e.is::<LengthLimitError>() => return Err(StatusCode::PAYLOAD_TOO_LARGE),
            Ok(Err(_)) => return Err(StatusCode::BAD_REQUEST),
            Err(_) => return Err(StatusCode::REQUEST_TIMEOUT),
        };
        let kind = head.headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok());
        let input = Input::Bytes(body.to_vec());
        self.compress(input, kind.unwrap_or("application/octet-stream"))
            .await
    }

    async fn compress(&self, input: Input, kind: &str) -> Answer {
        let bytes = self.run(handlers::compress, input).await?.map_err(|why| {
            tracing::error!("compressing: {why}");
            StatusCode::INTERNAL_SERVER_ERROR
        })?;
        let response = Response::builder()
            .header(header::CONTENT_TYPE, kind)
            .header(header::CONTENT_ENCODING, "gzip")
            .header(header::VARY, "accept-encoding");
        Ok(response
            .body(Content::Bytes(Bytes::from(bytes)))
            .expect("all headers are valid"))
    }

    /// Runs a task in the pool. Its whole result is there before the first byte is sent, so that
    /// any end of it has a status of its own.
    async fn run<A: Message, R: Message>(
        &self,
        task: fn(A) -> R,
        input: A,
    ) -> Result<R, StatusCode> {
        let Ok(running) = self.pool.try_submit(task, input) else {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        };
        running.await.map_err(|why| {
            tracing::warn!("{why}");
            match why {
                JoinError::Crashed(_) => StatusCode::BAD_GATEWAY,
                JoinError::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
                JoinError::Closed | JoinError::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            }
        })
    }

    fn status(&self) -> Response<Content> {
        let stats = self.pool.stats();
        let crashed: Vec<_> = (stats.crashed.iter())
            .map(|(cause, count)| serde_json::json!({ "cause": cause.to_string(), "count": count }))
            .collect();
        let milliseconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1e3);
        let status = serde_json::json!({
            "pid": std::process::id(),
            "generation": self.generation,
            "connections": self.limits.connections - self.room.available_permits(),
            "answered": {
                "below_400": self.answered.ok.load(Ordering::Relaxed),
                "4xx": self.answered.client_errors.load(Ordering::Relaxed),
                "5xx": self.answered.server_errors.load(Ordering::Relaxed),
            },
            "handlers": {
                "kind": self.pool.kind().to_string(),
                "pids": self.pool.pids(),
                "queued": stats.queued,
                "running": stats.running,
                "done": stats.done,
                "panicked": stats.panicked,
                "timed_out": stats.timed_out,
                "crashed": crashed,
                "restarts": stats.restarts,
                "recycled": stats.recycled,
                "median_ms": milliseconds(stats.latencies.quantile(0.5)),
                "p99_ms": milliseconds(stats.latencies.quantile(0.99)),
            },
        });
        let mut response = text(StatusCode::OK, format!("{status:#}\n"));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

fn text(status: StatusCode, text: String) -> Response<Content> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(Content::Bytes(Bytes::from(text)))
        .expect("all headers are valid")
}

fn error(status: StatusCode) -> Response<Content> {
    let mut response = text(status, format!("{status}\n"));
    let headers = response.headers_mut();
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}
