//! What a handler answers: upstream's "V1" styles, its plain text, and errors.

use std::borrow::Cow;

use bytes::Bytes;
use http_body_util::Full;
use hyper::ext::ReasonPhrase;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use serde::Serialize;

use super::json;

/// One answer: status, headers and a body held in memory.
#[derive(Debug, Clone)]
pub struct Reply {
    response: Response<Bytes>,
}

impl Reply {
    /// 200 with text or bytes.
    pub fn text(body: impl Into<Bytes>) -> Self {
        Self::with_body(StatusCode::OK, body.into(), Some(TEXT)).v1()
    }

    /// 200 with nothing: no content type, `Content-Length: 0`.
    pub fn empty() -> Self {
        Self::with_body(StatusCode::OK, Bytes::new(), None).v1()
    }

    /// 200 with `value` as Go would write it.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Self {
        match json::to_vec(value) {
            Ok(body) => Self::raw_json(body),
            Err(error) => {
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into()
            }
        }
    }

    /// 200 with a body that is JSON already.
    pub fn raw_json(body: impl Into<Bytes>) -> Self {
        Self::with_body(StatusCode::OK, body.into(), Some(JSON)).v1()
    }

    /// Text without the V1 header, as `/ping` and the debugging endpoints answer.
    pub fn plain(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::with_body(status, body.into(), Some(TEXT))
    }

    /// A body of any type, without the V1 header: pages, images, what a proxy was answered.
    pub fn content(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self::with_body(StatusCode::OK, body.into(), Some(content_type))
    }

    /// A status alone.
    pub(super) fn nothing(status: StatusCode) -> Self {
        Self::with_body(status, Bytes::new(), None)
    }

    /// The same answer with another body.
    #[must_use]
    pub fn with_new_body(mut self, body: impl Into<Bytes>) -> Self {
        *self.response.body_mut() = body.into();
        self
    }

    /// The same answer with another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        *self.response.status_mut() = status;
        self
    }

    /// The same answer with one more header, replacing an earlier value.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.response.headers_mut().insert(name, value);
        self
    }

    /// The same answer as the last one of its connection.
    #[must_use]
    pub(super) fn closing(self) -> Self {
        self.with_header(header::CONNECTION, HeaderValue::from_static("close"))
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The headers so far.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        self.response.body()
    }

    /// A redirect or an answer to `OPTIONS`: nothing but a status and one header.
    pub(super) fn bare(status: StatusCode, name: HeaderName, value: &str) -> Self {
        let reply = Self::with_body(status, Bytes::new(), None);
        match HeaderValue::from_str(value) {
            Ok(value) => reply.with_header(name, value),
            Err(_) => ApiError::not_found("NOT_FOUND").into(),
        }
    }

    pub(super) fn into_response(mut self) -> Response<Full<Bytes>> {
        if self.status() == StatusCode::PAYLOAD_TOO_LARGE {
            // Compat: Go keeps the older phrase (net/http, status.go).
            let phrase = ReasonPhrase::from_static(b"Request Entity Too Large");
            self.response.extensions_mut().insert(phrase);
        }
        self.response.map(Full::new)
    }

    fn with_body(status: StatusCode, body: Bytes, content_type: Option<&'static str>) -> Self {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        if let Some(content_type) = content_type {
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        Self { response }
    }

    fn v1(self) -> Self {
        // go-nsq takes an answer without this header for the enveloped format of nsq 0.x.
        self.with_header(
            NSQ_CONTENT_TYPE,
            HeaderValue::from_static("nsq; version=1.0"),
        )
    }
}

/// A refusal: the status and the code that stands in `{"message":"CODE"}`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {code}", status.as_u16())]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// A word such as `INVALID_TOPIC`, or a sentence.
    pub code: Cow<'static, str>,
}

impl ApiError {
    /// Any status with any code.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code: code.into(),
        }
    }

    /// 400.
    pub fn bad_request(code: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code)
    }

    /// 404.
    pub fn not_found(code: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code)
    }

    /// 413.
    pub fn too_large(code: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, code)
    }

    /// 500.
    pub fn internal(code: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code)
    }
}

impl From<ApiError> for Reply {
    fn from(error: ApiError) -> Self {
        #[derive(Serialize)]
        struct Body<'a> {
            message: &'a str,
        }
        Self::json(&Body {
            message: &error.code,
        })
        .with_status(error.status)
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json; charset=utf-8";
const NSQ_CONTENT_TYPE: HeaderName = HeaderName::from_static("x-nsq-content-type");
