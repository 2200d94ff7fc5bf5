//! The script of the intention step (意愿核身): what the user confirms (document 31816).

use super::{fault::Faults, named};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantNames};

/// One mode with its texts.
#[derive(Clone, PartialEq, Serialize)]
pub enum IntentionScript {
    ReadAloud {
        text: String,
    },
    Questions {
        questions: Vec<Question>,
        recognize_similar_answers: Option<bool>,
        detect_mouth_opening: Option<bool>,
        speech_speed: Option<u32>,
    },
    Nods {
        statements: Vec<String>,
        speech_speed: Option<u32>,
    },
}

/// A question and the answers that pass.
#[derive(Clone, PartialEq, Serialize)]
pub struct Question {
    pub question: String,
    pub answers: Vec<String>,
}

/// Which mode a script has, or the vendor says it had.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, EnumString, IntoStaticStr, VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum IntentionMode {
    Questions,
    Nods,
    ReadAloud,
}

impl IntentionMode {
    /// Reads the name in the configuration.
    ///
    /// # Errors
    /// The fault.
    pub fn parse(text: &str) -> Result<Self, String> {
        named::parse(text)
    }

    /// The name in the configuration and in the store.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl IntentionScript {
    const MAX_TEXT: usize = 120;
    const MAX_ITEMS: usize = 10;
    const MAX_STATEMENT: usize = 250;
    const MAX_ANSWERS: usize = 50;
    const MAX_ANSWER: usize = 10;
    const MAX_SPEED: u32 = 3;

    /// The mode that the script is written for.
    pub fn mode(&self) -> IntentionMode {
        match self {
            Self::ReadAloud { .. } => IntentionMode::ReadAloud,
            Self::Questions { .. } => IntentionMode::Questions,
            Self::Nods { .. } => IntentionMode::Nods,
        }
    }

    /// Notes what breaks the vendor's limits.
    pub fn check(&self, faults: &mut Faults) {
        match self {
            Self::ReadAloud { text } => {
                check_text(faults, "intention.read_aloud.text", text, Self::MAX_TEXT);
            }
            Self::Questions { questions, speech_speed, .. } => {
                check_count(faults, "intention.questions.questions", questions.len(), Self::MAX_ITEMS);
                for (i, question) in questions.iter().enumerate().take(Self::MAX_ITEMS) {
                    let field = format!("intention.questions.questions[{i}]");
                    check_text(faults, &format!("{field}.question"), &question.question, Self::MAX_STATEMENT);
                    check_count(faults, &format!("{field}.answers"), question.answers.len(), Self::MAX_ANSWERS);
                    for (j, answer) in question.answers.iter().enumerate().take(Self::MAX_ANSWERS) {
                        check_text(faults, &format!("{field}.answers[{j}]"), answer, Self::MAX_ANSWER);
                    }
                }
                check_speed(faults, "intention.questions.speech_speed", *speech_speed);
            }
            Self::Nods { statements, speech_speed } => {
                check_count(faults, "intention.nods.statements", statements.len(), Self::MAX_ITEMS);
                for (i, statement) in statements.iter().enumerate().take(Self::MAX_ITEMS) {
                    check_text(faults, &format!("intention.nods.statements[{i}]"), statement, Self::MAX_STATEMENT);
                }
                check_speed(faults, "intention.nods.speech_speed", *speech_speed);
            }
        }
    }
}

fn check_text(faults: &mut Faults, field: &str, text: &str, limit: usize) {
    if text.trim().is_empty() {
        faults.add(field, "is blank");
    }
    faults.check_length(field, text, limit);
}

fn check_count(faults: &mut Faults, field: &str, count: usize, limit: usize) {
    if count == 0 || count > limit {
        faults.add(field, format!("has {count} entries; it takes 1 to {limit}"));
    }
}

fn check_speed(faults: &mut Faults, field: &str, speed: Option<u32>) {
    if speed.is_some_and(|speed| speed > IntentionScript::MAX_SPEED) {
        faults.add(field, format!("is over {}", IntentionScript::MAX_SPEED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(script: &IntentionScript) -> Vec<String> {
        let mut faults = Faults::default();
        script.check(&mut faults);
        faults.into_vec().into_iter().map(|fault| fault.field).collect()
    }

    fn questions(questions: Vec<Question>, speech_speed: Option<u32>) -> IntentionScript {
        IntentionScript::Questions {
            questions,
            recognize_similar_answers: None,
            detect_mouth_opening: None,
            speech_speed,
        }
    }

    #[test]
    fn holds_the_vendors_limits() {
        assert!(faults_of(&IntentionScript::ReadAloud { text: "我".repeat(120) }).is_empty());
        assert_eq!(faults_of(&IntentionScript::ReadAloud { text: "我".repeat(121) }), ["intention.read_aloud.text"]);
        let question = Question { question: "您是否同意?".into(), answers: vec!["同意".into()] };
        assert!(faults_of(&questions(vec![question.clone(); 10], Some(3))).is_empty());
        assert_eq!(faults_of(&questions(vec![question; 11], None)), ["intention.questions.questions"]);
        let wordy = Question { question: "问".repeat(251), answers: vec!["答".repeat(11), String::new()] };
        assert_eq!(
            faults_of(&questions(vec![wordy], Some(4))),
            [
                "intention.questions.questions[0].question",
                "intention.questions.questions[0].answers[0]",
                "intention.questions.questions[0].answers[1]",
                "intention.questions.speech_speed"
            ]
        );
        let silent = Question { question: "?".into(), answers: vec![] };
        assert_eq!(faults_of(&questions(vec![silent], None)), ["intention.questions.questions[0].answers"]);
        assert_eq!(
            faults_of(&IntentionScript::Nods { statements: vec![], speech_speed: Some(9) }),
            ["intention.nods.statements", "intention.nods.speech_speed"]
        );
    }
}
