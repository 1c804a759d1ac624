//! A service whose work ends when its client goes, if it asks, and is refused when it is too much.
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Router, http::StatusCode, routing::get};
use side_by_side::work_unless;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

type Room = Arc<Semaphore>;

async fn answer(State(room): State<Room>, Path(millis): Path<u64>) -> Result<String, StatusCode> {
    let permit = room
        .try_acquire_owned()
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let token = CancellationToken::new();
    let _cancel_on_drop = token.clone().drop_guard();
    let task = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work_unless(|| token.is_cancelled(), millis)
    });
    task.await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let room = Room::new(Semaphore::new(2));
    let app = Router::new()
        .route("/work/{millis}", get(answer))
        .with_state(room);
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        Ok(axum::serve(listener, app).await?)
    })
}
