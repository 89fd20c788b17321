//! Payloads encrypted on their way out: the broker, the engine and whoever reads a history see nothing but ciphertext.
//!
//! `cargo run -p fermata-worker --example encryption`, with `fermata dev` running. The key is made anew with each start here;
//! a real one comes from wherever the team keeps its secrets, by the key id that each payload names.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use fermata_worker::*;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

const ENCODING: &str = "encoding";
const ENCRYPTED: &[u8] = b"binary/encrypted";
const KEY_ID: &str = "encryption-key-id";

/// AES-256-GCM with a nonce of its own for each payload.
struct Encryption {
    keys: BTreeMap<String, LessSafeKey>,
    /// What is encrypted from now on is so under this key; the others still decrypt.
    current: String,
    random: SystemRandom,
}

impl Encryption {
    /// # Errors
    /// If the system gives no randomness.
    fn with_new_key(id: &str) -> anyhow::Result<Self> {
        let random = SystemRandom::new();
        let mut bytes = [0; 32];
        random.fill(&mut bytes).ok().context("make a key")?;
        let key = UnboundKey::new(&AES_256_GCM, &bytes)
            .ok()
            .context("make a key")?;
        Ok(Self {
            keys: [(id.to_owned(), LessSafeKey::new(key))].into(),
            current: id.to_owned(),
            random,
        })
    }

    fn key(&self, id: &str) -> Result<&LessSafeKey, CodecFailure> {
        self.keys
            .get(id)
            .ok_or_else(|| format!("encryption key {id:?} is not at hand").into())
    }
}

impl PayloadCodec for Encryption {
    async fn encode(&self, payloads: Vec<Payload>) -> Result<Vec<Payload>, CodecFailure> {
        payloads.into_iter().map(|plain| self.seal(plain)).collect()
    }

    async fn decode(&self, payloads: Vec<Payload>) -> Result<Vec<Payload>, CodecFailure> {
        payloads
            .into_iter()
            .map(|sealed| self.open(sealed))
            .collect()
    }
}

impl Encryption {
    fn seal(&self, payload: Payload) -> Result<Payload, CodecFailure> {
        let mut sealed = serde_json::to_vec(&payload)?;
        let mut nonce = [0; NONCE_LEN];
        self.random
            .fill(&mut nonce)
            .map_err(|_| "the system gives no randomness")?;
        self.key(&self.current)?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::empty(),
                &mut sealed,
            )
            .map_err(|_| "the payload is too large to encrypt")?;
        let mut data = nonce.to_vec();
        data.append(&mut sealed);
        Ok(Payload {
            metadata: [
                (ENCODING.to_owned(), ENCRYPTED.into()),
                (KEY_ID.to_owned(), self.current.clone().into()),
            ]
            .into(),
            data: data.into(),
            ..Payload::default()
        })
    }

    fn open(&self, payload: Payload) -> Result<Payload, CodecFailure> {
        // What was written without the codec, by an operator say, is left as it is.
        if payload.metadata.get(ENCODING).map(|bytes| &bytes[..]) != Some(ENCRYPTED) {
            return Ok(payload);
        }
        let id = payload.metadata.get(KEY_ID).cloned().unwrap_or_default();
        let key = self.key(&String::from_utf8_lossy(&id))?;
        let (nonce, sealed) = payload
            .data
            .split_at_checked(NONCE_LEN)
            .ok_or("an encrypted payload without a nonce")?;
        let nonce = Nonce::try_assume_unique_for_key(nonce)
            .map_err(|_| "an encrypted payload without a nonce")?;
        let mut opened = sealed.to_vec();
        let plain = key
            .open_in_place(nonce, Aad::empty(), &mut opened)
            .map_err(|_| "the payload was changed, or encrypted with another key")?;
        Ok(serde_json::from_slice(plain)?)
    }
}

async fn diagnose(ctx: WorkflowContext, patient: String) -> WorkflowResult<String> {
    ctx.activity(look_up, patient)
        .start_to_close(Duration::from_secs(10))
        .await
}

async fn look_up(_ctx: ActivityContext, patient: String) -> ActivityResult<String> {
    Ok(format!("{patient} is well"))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let plain = Client::connect("nats://127.0.0.1:4222").await?;
    let client = plain.clone().with_codec(Encryption::with_new_key("key-1")?);
    let worker = Worker::new(&client, "clinic")
        .workflow(diagnose)
        .activity(look_up);
    let shutdown = worker.shutdown();
    let worker = tokio::spawn(worker.run());
    let handle = client
        .start(diagnose, "Ada".to_owned())
        .queue("clinic")
        .await?;
    println!("with the key:    {}", handle.result().await?);
    let outside = plain.workflow::<String>(handle.workflow_id());
    match outside.result().await {
        Ok(result) => anyhow::bail!("read without the key: {result}"),
        Err(error) => println!("without the key: {error}"),
    }
    shutdown.begin();
    worker.await??;
    Ok(())
}
