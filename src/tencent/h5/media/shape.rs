//! Where the media are in an answer.

use crate::domain::evidence::MediaKind;

/// Kinds of value in a place of the answer.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A medium, as base64.
    Medium(MediaKind),
    /// The id of the attempt that the video beside it is of.
    Seq,
    /// An object, by those of its fields that matter here.
    Object(&'static [(&'static str, Shape)]),
    List(&'static Shape),
    /// What is left to serde.
    Other,
}

use Shape::{List, Medium, Object};

/// The answer, as far as it leads to media.
pub(super) const ANSWER: Shape = Object(&[(
    "Response",
    Object(&[
        (
            "BestFrame",
            Object(&[("BestFrame", Medium(MediaKind::BestFrame)), ("BestFrames", List(&Medium(MediaKind::BestFrame)))]),
        ),
        (
            "IdCardData",
            Object(&[
                ("OcrFront", Medium(MediaKind::IdCardFront)),
                ("OcrBack", Medium(MediaKind::IdCardBack)),
                ("ProcessedFrontImage", Medium(MediaKind::IdCardFrontProcessed)),
                ("ProcessedBackImage", Medium(MediaKind::IdCardBackProcessed)),
                ("Avatar", Medium(MediaKind::IdCardAvatar)),
            ]),
        ),
        (
            "VideoData",
            Object(&[
                ("LivenessVideo", Medium(MediaKind::LivenessVideo)),
                ("LivenessVideos", List(&Object(&[("Seq", Shape::Seq), ("Video", Medium(MediaKind::LivenessVideo))]))),
            ]),
        ),
        (
            "IntentionVerifyData",
            Object(&[
                ("IntentionVerifyVideo", Medium(MediaKind::IntentionVideo)),
                ("IntentionVerifyBestFrame", Medium(MediaKind::IntentionPhoto)),
                ("IntentionVerifyAudio", Medium(MediaKind::IntentionAudio)),
            ]),
        ),
        (
            "IntentionQuestionResult",
            Object(&[
                ("Video", Medium(MediaKind::IntentionVideo)),
                ("ScreenShot", List(&Medium(MediaKind::IntentionScreenshot))),
                ("Audios", List(&Medium(MediaKind::IntentionAudio))),
            ]),
        ),
        (
            "IntentionActionResult",
            Object(&[(
                "Details",
                List(&Object(&[
                    ("Video", Medium(MediaKind::IntentionVideo)),
                    ("ScreenShot", List(&Medium(MediaKind::IntentionScreenshot))),
                ])),
            )]),
        ),
    ]),
)]);
