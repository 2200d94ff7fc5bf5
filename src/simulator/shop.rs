//! Small pages around the flow: a merchant to come back to, the vendor's product page, and pages that say one thing.

use axum::extract::{Path, Query};
use axum::response::{Html, IntoResponse, Response};
use http::{StatusCode, header};
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct ShopQuery {
    /// As the gateway that this simulator is made for adds it.
    faceid_verification_id: Option<String>,
}

/// `GET /shop/{page}`: a page of a merchant, where demos and browser tests land.
pub(super) async fn shop(Path(page): Path<String>, Query(query): Query<ShopQuery>) -> Response {
    let mut body = format!("<p>页面：<b id=\"shop-page\">{}</b></p>", escape(&page));
    if let Some(id) = query.faceid_verification_id {
        body.push_str(&format!("<p>核验编号：<b id=\"verification-id\">{}</b></p>", escape(&id)));
    }
    notice(StatusCode::OK, "商户页面", &body)
}

/// `GET /product`: where the vendor sends a user for whom no RedirectUrl was given.
pub(super) async fn product() -> Response {
    notice(StatusCode::OK, "人脸核身", "<p>核验流程已结束，您可以关闭本页面。</p>")
}

/// A page that says one thing. `body` is HTML: whatever comes from outside must be escaped in it.
pub(super) fn notice(status: StatusCode, title: &str, body: &str) -> Response {
    let page = include_str!("notice.html").replace("{{title}}", &escape(title)).replace("{{body}}", body);
    (status, [(header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'")], Html(page))
        .into_response()
}

/// Makes `text` safe in HTML, in attributes too.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_from_outside_is_escaped() {
        let query = ShopQuery { faceid_verification_id: Some("\"'&".to_owned()) };
        let page = shop(Path("<script>".to_owned()), Query(query)).await;
        let html = axum::body::to_bytes(page.into_body(), 100_000).await.unwrap();
        let html = std::str::from_utf8(&html).unwrap();
        assert!(html.contains("<b id=\"shop-page\">&lt;script&gt;</b>"));
        assert!(html.contains("<b id=\"verification-id\">&quot;&#39;&amp;</b>"));
        assert!(!html.contains("<script>"));
    }
}
