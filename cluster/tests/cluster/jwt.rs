//! Credentials with a JWT, of an account and an operator that the test makes.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use brigade_cluster::{Access, Error, Pool};
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::block_on;
use crate::roles::{Serving, config};
use crate::server::Server;
use crate::status::{command, text};
use crate::tasks::double;
use crate::worker::{settings, soon};

pub(crate) const TESTS: &[(&str, fn())] = &[("jwt::credentials", credentials)];

/// What `issuer` says of `subject`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let claims = part(&json!({
        "jti": name,
        "iat": 1_700_000_000,
        "iss": issuer.public_key(),
        "sub": subject.public_key(),
        "name": name,
        "nats": nats,
    }));
    let signed = format!("{head}.{claims}");
    let signature = issuer.sign(signed.as_bytes()).expect("it has a seed");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// `streams`: whether it may have any; that of the system may not.
fn account(operator: &KeyPair, keys: &KeyPair, name: &str, streams: bool) -> String {
    let mut limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1,
    });
    if streams {
        for what in ["mem_storage", "disk_storage", "streams", "consumer"] {
            limits[what] = json!(-1);
        }
    }
    let nats = json!({ "limits": limits, "type": "account", "version": 2 });
    jwt(operator, keys, name, &nats)
}

fn user(account: &KeyPair, keys: &KeyPair) -> String {
    let nats = json!({ "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2 });
    let token = jwt(account, keys, "user", &nats);
    let seed = keys.seed().expect("it has a seed");
    format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

fn credentials() {
    let dir = tempfile::tempdir().unwrap();
    let (operator, ours, system) = (
        KeyPair::new_operator(),
        KeyPair::new_account(),
        KeyPair::new_account(),
    );
    let own = json!({ "type": "operator", "version": 2 });
    let conf = format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n  {}: {}\n  {}: {}\n}}\n",
        jwt(&operator, &operator, "operator", &own),
        system.public_key(),
        ours.public_key(),
        account(&operator, &ours, "ours", true),
        system.public_key(),
        account(&operator, &system, "system", false),
    );
    let conf = config(dir.path(), &conf);
    let server = Server::start_with(&["--config", &conf.display().to_string()], &[]);
    let write = |name: &str, text: String| {
        let file = dir.path().join(name);
        fs::write(&file, text).expect("a file");
        file
    };
    let known = write("known.creds", user(&ours, &KeyPair::new_user()));
    let stranger = write(
        "stranger.creds",
        user(&KeyPair::new_account(), &KeyPair::new_user()),
    );
    block_on(async {
        let of = |file| settings().access(Access::default().credentials_file(file));
        let worker = Serving::start(&server.url(), "app", of(&known));
        let builder = Pool::builder(&server.url(), "app").settings(of(&known));
        let pool = builder.build("v1").connect().await.unwrap();
        assert_eq!(soon(pool.submit(double, 2).await).await.unwrap(), 4);
        assert_eq!(worker.stop().await.ended(), 1);
        let file = known.display().to_string();
        let told = command(&["status", &server.url(), "app", "--creds", &file]);
        assert!(text(&told).contains("0 of 100000"), "{told:?}");
        let builder = Pool::builder(&server.url(), "app").settings(of(&stranger));
        let why = soon(builder.connect()).await.unwrap_err();
        assert!(matches!(why, Error::Connect { .. }), "{why}");
    });
}
