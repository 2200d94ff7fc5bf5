//! A vendor that says what a test tells it to say, and is not the simulator: it shares no idea of a
//! right answer with the product.

use crate::harness::World;
use axum::{Json, Router, extract::State, http::HeaderMap, routing::post};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// A `Response` for each request of an action.
type Saying = Arc<dyn Fn(&Value) -> Value + Send + Sync>;

/// What it says to each action, and what it was asked.
#[derive(Default)]
struct Script {
    answers: Mutex<Vec<(String, Saying)>>,
    asked: Mutex<Vec<(String, Value)>>,
}

pub struct ScriptedVendor {
    script: Arc<Script>,
    address: std::net::SocketAddr,
}

impl ScriptedVendor {
    pub async fn start() -> Self {
        let script = Arc::new(Script::default());
        let router = Router::new().route("/", post(answer)).with_state(Arc::clone(&script));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { script, address }
    }

    /// A gateway in front of this vendor.
    pub async fn world(&self) -> World {
        World::start_with_tencent(&format!("endpoint = \"http://{}\"", self.address)).await
    }

    /// From now on `action` is answered with this `Response`, to which a RequestId is added.
    pub fn says(&self, action: &str, response: Value) {
        self.says_by(action, move |_| response.clone());
    }

    /// From now on `action` is answered with what this makes of the request.
    pub fn says_by(&self, action: &str, saying: impl Fn(&Value) -> Value + Send + Sync + 'static) {
        let mut answers = self.script.answers.lock().expect("answers");
        answers.retain(|(known, _)| known != action);
        answers.push((action.to_owned(), Arc::new(saying)));
    }

    /// From now on the result is this.
    pub fn finds(&self, response: Value) {
        self.says("GetDetectInfoEnhanced", response);
    }

    /// The requests of an action, in order.
    pub fn asked(&self, action: &str) -> Vec<Value> {
        let asked = self.script.asked.lock().expect("requests");
        asked.iter().filter(|(known, _)| known == action).map(|(_, request)| request.clone()).collect()
    }
}

async fn answer(State(script): State<Arc<Script>>, headers: HeaderMap, Json(request): Json<Value>) -> Json<Value> {
    let action = headers["x-tc-action"].to_str().expect("an action").to_owned();
    let nth = {
        let mut asked = script.asked.lock().expect("requests");
        asked.push((action.clone(), request.clone()));
        asked.len()
    };
    let scripted = script.answers.lock().expect("answers").iter().find(|(known, _)| *known == action).cloned();
    let mut response = match scripted {
        Some((_, saying)) => saying(&request),
        None if action == "DetectAuth" => json!({
            "BizToken": format!("SCRIPTED-{nth:08}"),
            "Url": format!("https://faceid.example.com/h5?token=SCRIPTED-{nth:08}"),
        }),
        None => json!({}),
    };
    response["RequestId"] = json!(format!("scripted-{nth}"));
    Json(json!({ "Response": response }))
}
