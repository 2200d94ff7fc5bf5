//! Random calls, faults and clock moves, against what must always hold. A run that fails prints its
//! seed.

use crate::harness::{Created, ORDERS, World, bearing, by_id, state_name};
use faceid_gateway::grpc::pb::{CancelVerificationRequest, RedactVerificationRequest};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const SEEDS: [u64; 3] = [1, 20_180_301, 0xFACE];
const STEPS: usize = 120;
const CODES: [i32; 5] = [0, 1004, 2016, 2015, 301];
const FAULTS: [&str; 6] = ["not_json", "nulls", "reset", "html_200", "unknown_fields", "cut_json"];

#[tokio::test]
async fn hold_whatever_happens() {
    for seed in SEEDS {
        let world = World::start().await;
        let mut life =
            Life { world: &world, made: Vec::new(), finals: BTreeMap::new(), redacted: BTreeSet::new(), seed };
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..STEPS {
            life.step(&mut random).await;
        }
        life.end().await;
    }
}

struct Life<'a> {
    world: &'a World,
    made: Vec<Created>,
    /// Final states that were told.
    finals: BTreeMap<String, &'static str>,
    redacted: BTreeSet<String>,
    seed: u64,
}

impl Life<'_> {
    async fn step(&mut self, random: &mut impl Rng) {
        let Some(created) = self.made.choose(random).filter(|_| random.random_bool(0.8)) else {
            let kept = random.random_bool(0.5);
            let request = if kept { self.world.photo_request() } else { self.world.request() };
            if let Ok(created) = self.world.create(request).await {
                self.made.push(Created::of(created));
            }
            return;
        };
        let id = created.id.clone();
        match random.random_range(0..13) {
            0..4 => self.attempt(created, *CODES.choose(random).expect("codes")).await,
            4..7 => self.ask(&id).await,
            7 => {
                let tokens = pb_tokens(&id, &created.token);
                let _ = self.world.callback_as(ORDERS, tokens).await;
            }
            8 => {
                let request = CancelVerificationRequest { verification_id: id.clone() };
                let _ = self.world.client().cancel_verification(bearing(ORDERS, request)).await;
            }
            9 => self.redact(&id).await,
            10..12 => {
                let kind = *FAULTS.choose(random).expect("faults");
                self.world.fault(json!({ "kind": kind, "action": "GetDetectInfoEnhanced" })).await;
            }
            _ => self.world.advance(random.random_range(1..1800)).await,
        }
    }

    /// The user's attempt, if the vendor still takes one.
    async fn attempt(&self, created: &Created, code: i32) {
        let url = format!("http://{}/tokens/{}/attempts", self.world.simulator.control_addr(), created.token);
        let http = reqwest::Client::builder().no_proxy().build().expect("HTTP client");
        http.post(url).json(&json!({ "code": code })).send().await.expect("control port answers");
    }

    /// Redacts what has ended; what has not is refused.
    async fn redact(&mut self, id: &str) {
        let request = RedactVerificationRequest { verification_id: id.to_owned() };
        if self.world.client().redact_verification(bearing(ORDERS, request)).await.is_ok() {
            self.redacted.insert(id.to_owned());
        }
    }

    async fn ask(&mut self, id: &str) {
        let Ok(told) = self.world.result(id).await else { return };
        let state = state_name(&told.verification.expect("a verification"));
        if let Some(before) = self.finals.get(id) {
            assert_eq!(*before, state, "a final state changed; seed {}", self.seed);
        } else if state != "PENDING" {
            self.finals.insert(id.to_owned(), state);
        }
    }

    /// Everything ends; then the vendor and we must agree.
    async fn end(&mut self) {
        self.world.clear_faults().await;
        self.world.advance(7203).await;
        // Jobs that a fault had rescheduled come due as the clock goes on.
        let world = self.world;
        world
            .until("the end of all jobs", async || {
                // Time that runs ahead of a fetch would end its lease.
                if world.leased_jobs() == 0 {
                    world.advance(60).await;
                }
                world.count("SELECT count(*) FROM jobs WHERE kind IN ('settle', 'evidence', 'delete_blobs')") == 0
            })
            .await;
        let vendor = self.vendor().await;
        for created in &self.made {
            let request = by_id(&created.id);
            let answer = self.world.result_as(ORDERS, request).await.expect("an answer");
            let told = answer.verification.expect("one");
            let state = state_name(&told);
            let (best, charged) = vendor.get(&created.token).copied().unwrap_or((None, 0));
            let expected = match best {
                Some(0) => "PASSED",
                Some(_) => "FAILED",
                None => "EXPIRED",
            };
            if state != "CANCELED" {
                assert_eq!(state, expected, "seed {}", self.seed);
            }
            if let Some(before) = self.finals.get(&created.id) {
                assert_eq!(*before, state, "a final state changed; seed {}", self.seed);
            }
            assert_eq!(u64::from(told.charged_attempts), charged, "the ledgers differ; seed {}", self.seed);
            let kept: Vec<_> = answer.evidence.iter().filter(|evidence| evidence.erase_time.is_none()).collect();
            if self.redacted.contains(&created.id) {
                assert!(told.redact_time.is_some() && answer.result.is_none() && kept.is_empty(), "seed {}", self.seed);
            } else if told.flow == "photo" && matches!(state, "PASSED" | "FAILED") {
                assert!(!kept.is_empty(), "evidence is missing; seed {}", self.seed);
            }
        }
        self.world.advance(25 * 3600).await;
        for _ in ["the first tells", "the second deletes"] {
            self.world.gateway.app.sweep_orphans().await.expect("swept");
        }
        let rows = self.world.count("SELECT count(*) FROM evidence WHERE NOT blob_deleted");
        assert_eq!(self.world.blobs().len() as i64, rows, "a blob without a row; seed {}", self.seed);
        assert_eq!(self.world.count("SELECT count(*) FROM evidence WHERE erased_at_ms > 0 AND NOT blob_deleted"), 0);
        let outcomes = "SELECT count(*) FROM (SELECT verification_id FROM events WHERE kind IN ('settled', 'canceled') \
                        GROUP BY verification_id HAVING count(*) > 1) AS doubled";
        assert_eq!(self.world.count(outcomes), 0, "two outcomes; seed {}", self.seed);
    }

    /// By token: 0 if an attempt passed, else the last one's code; and how many are charged.
    async fn vendor(&self) -> BTreeMap<String, (Option<i64>, u64)> {
        let url = format!("http://{}/tokens", self.world.simulator.control_addr());
        let tokens: Vec<Value> = serde_json::from_str(&self.world.get(&url).await.1).expect("tokens are JSON");
        let summary = |token: &Value| {
            let attempts = token["attempts"].as_array().cloned().unwrap_or_default();
            let codes: Vec<i64> = attempts.iter().filter_map(|attempt| attempt["code"].as_i64()).collect();
            let best = codes.iter().copied().find(|code| *code == 0).or_else(|| codes.last().copied());
            let charged = attempts.iter().filter(|attempt| attempt["charged"] == true).count() as u64;
            (token["biz_token"].as_str().unwrap_or_default().to_owned(), (best, charged))
        };
        tokens.iter().map(summary).collect()
    }
}

fn pb_tokens(id: &str, token: &str) -> faceid_gateway::grpc::pb::handle_callback_request::Source {
    faceid_gateway::grpc::pb::handle_callback_request::Source::Tokens(faceid_gateway::grpc::pb::CallbackTokens {
        verification_id: id.to_owned(),
        biz_token: token.to_owned(),
    })
}
