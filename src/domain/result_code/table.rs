//! The vendor's codes (document 103606), and the gateway's own.

use super::kinds::{Advice as A, INTENTION_MODE_DIFFERS, INTENTION_STEP_OFF, Stage as S};
use crate::domain::intention::IntentionMode;

/// A code and what it says.
pub(super) struct Row {
    pub(super) code: i64,
    /// In which mode of the intention step it says so.
    pub(super) step: Step,
    pub(super) stage: S,
    pub(super) meaning: &'static str,
    pub(super) meaning_zh: &'static str,
    pub(super) advice: A,
}

/// −1 and −2 swap their meanings between the modes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Any,
    ReadAloud,
    QuestionsOrNods,
}

impl Step {
    pub(super) fn has(self, mode: Option<IntentionMode>) -> bool {
        match self {
            Self::Any => true,
            Self::ReadAloud => mode == Some(IntentionMode::ReadAloud),
            Self::QuestionsOrNods => matches!(mode, Some(IntentionMode::Questions | IntentionMode::Nods)),
        }
    }
}

const fn row(code: i64, stage: S, meaning: &'static str, meaning_zh: &'static str, advice: A) -> Row {
    Row { code, step: Step::Any, stage, meaning, meaning_zh, advice }
}

const fn read_aloud(code: i64, meaning: &'static str, meaning_zh: &'static str, advice: A) -> Row {
    Row { code, step: Step::ReadAloud, stage: S::Intention, meaning, meaning_zh, advice }
}

const fn questions_or_nods(code: i64, meaning: &'static str, meaning_zh: &'static str, advice: A) -> Row {
    Row { code, step: Step::QuestionsOrNods, stage: S::Intention, meaning, meaning_zh, advice }
}

/// The first row of a code that goes with the mode counts.
pub(super) const TABLE: &[Row] = &[
    row(0, S::Final, "passed", "核身通过", A::Done),
    row(1, S::System, "called wrongly", "调用方式有误", A::FixRequest),
    row(2, S::System, "called wrongly", "调用方式有误", A::FixRequest),
    row(3, S::System, "called wrongly", "调用方式有误", A::FixRequest),
    row(4, S::System, "service exception", "服务异常", A::RetryLater),
    row(8, S::System, "service exception", "服务异常", A::RetryLater),
    row(10, S::System, "service exception", "服务异常", A::RetryLater),
    row(12, S::System, "service exception", "服务异常", A::RetryLater),
    row(13, S::System, "service exception", "服务异常", A::RetryLater),
    row(14, S::System, "this verification is already complete", "该核身流程已完成", A::ReadResult),
    row(15, S::System, "token expired", "核身凭证已过期", A::NewVerification),
    row(16, S::System, "retry limit reached", "重试次数已用完", A::NewVerification),
    row(17, S::System, "flow not finished", "核身流程未完成", A::Wait),
    row(201, S::Wechat, "could not fetch the picture from WeChat", "从微信获取照片失败", A::UserRetries),
    row(202, S::Wechat, "could not fetch the video", "获取视频失败", A::UserRetries),
    row(203, S::Wechat, "no permission for this API", "没有调用该接口的权限", A::Operator),
    row(204, S::Wechat, "official account has not authorised FaceID", "公众号未授权人脸核身", A::Operator),
    row(301, S::Ocr, "ID number differs from the one given by the caller", "证件号与传入的不一致", A::UserRetries),
    row(302, S::Ocr, "ID card expired", "身份证已过期", A::ValidCard),
    row(303, S::Ocr, "card not recognised", "未能识别身份证", A::UserRetries),
    row(1001, S::Liveness, "engine timeout", "活体检测超时", A::UserRetries),
    row(1002, S::Liveness, "suspected not a live person", "疑似非真人", A::RejectOrRetry),
    row(1003, S::Liveness, "not recognised", "未能识别", A::UserRetries),
    row(1004, S::Liveness, "failed", "活体检测未通过", A::UserRetries),
    row(1005, S::Liveness, "failed", "活体检测未通过", A::UserRetries),
    row(1006, S::Liveness, "certificate library error", "证书库异常", A::RetryLater),
    row(1007, S::Liveness, "WeChat liveness result missing", "缺少微信活体检测结果", A::UserRetries),
    row(1008, S::Liveness, "unstable network", "网络不稳定", A::UserRetries),
    row(1101, S::Liveness, "voice not recognised", "未能识别声音", A::UserRetries),
    row(1102, S::Liveness, "face not fully visible", "脸部未完整露出", A::UserRetries),
    row(1103, S::Liveness, "voice not recognised", "未能识别声音", A::UserRetries),
    row(1104, S::Liveness, "video format", "视频格式不支持", A::OtherPhone),
    row(1105, S::Liveness, "video fetch failed", "拉取视频失败", A::UserRetries),
    row(1106, S::Liveness, "voice too quiet", "声音太小", A::UserRetries),
    row(
        1107,
        S::Liveness,
        "video empty or of the wrong length (about 6 s)",
        "视频为空或时长不对（约 6 秒）",
        A::UserRetries,
    ),
    row(1108, S::Liveness, "resolution too low", "分辨率过低", A::OtherPhone),
    row(1109, S::Liveness, "no lip movement", "未检测到唇动", A::UserRetries),
    row(1201, S::Liveness, "poor light", "光线不合适", A::UserRetries),
    row(1202, S::Liveness, "poor light", "光线不合适", A::UserRetries),
    row(1203, S::Liveness, "too near or too far", "距离过近或过远", A::UserRetries),
    row(1204, S::Liveness, "too near or too far", "距离过近或过远", A::UserRetries),
    row(1205, S::Liveness, "too near or too far", "距离过近或过远", A::UserRetries),
    row(1301, S::Liveness, "suspected not a live person", "疑似非真人", A::RejectOrRetry),
    row(1302, S::Liveness, "failed", "活体检测未通过", A::UserRetries),
    row(1303, S::Liveness, "recording shorter than 2 s", "录制时长不足 2 秒", A::UserRetries),
    row(2001, S::Comparison, "engine timeout", "比对超时", A::UserRetries),
    row(2002, S::Comparison, "wrong name", "姓名有误", A::FixIdentity),
    row(2003, S::Comparison, "wrong ID number", "证件号有误", A::FixIdentity),
    row(2004, S::Comparison, "no usable photo in the video", "视频中没有可用的人脸照片", A::OtherPhone),
    row(2005, S::Comparison, "identity not found", "未查到该身份信息", A::OtherChannel),
    row(2006, S::Comparison, "name and ID number do not match", "姓名与证件号不匹配", A::FixIdentity),
    row(2007, S::Comparison, "no reference photo", "没有可比对的照片", A::OtherChannel),
    row(2008, S::Comparison, "no reference photo", "没有可比对的照片", A::OtherChannel),
    row(2009, S::Comparison, "reference photo too small", "比对照片过小", A::OtherChannel),
    row(2010, S::Comparison, "face not fully visible", "脸部未完整露出", A::UserRetries),
    row(2011, S::Comparison, "not the same person (suspected not live)", "非同一人（疑似非真人）", A::RejectOrRetry),
    row(2012, S::Comparison, "several faces", "检测到多张人脸", A::UserRetries),
    row(2013, S::Comparison, "face not fully visible", "脸部未完整露出", A::UserRetries),
    row(2014, S::Comparison, "resolution too low", "分辨率过低", A::OtherPhone),
    row(2015, S::Comparison, "not the same person (comparison failed)", "非同一人（比对失败）", A::UserRetries),
    row(2016, S::Comparison, "not the same person (below the threshold)", "非同一人（相似度未达标）", A::RejectOrRetry),
    row(2017, S::Comparison, "authority source being upgraded", "权威库升级中", A::RetryLater),
    row(
        2018,
        S::Comparison,
        "risk limit reached (ID card, browser or openid)",
        "触发风控次数上限（身份证、浏览器或 openid）",
        A::OtherDay,
    ),
    questions_or_nods(-1, "wrong parameter", "参数有误", A::FixRequest),
    questions_or_nods(-2, "system error", "系统异常", A::RetryLater),
    read_aloud(-1, "system error", "系统异常", A::RetryLater),
    read_aloud(-2, "wrong parameter", "参数有误", A::FixRequest),
    row(-1, S::Intention, "system error or wrong parameter", "系统异常或参数有误", A::UserRetries),
    row(-2, S::Intention, "system error or wrong parameter", "系统异常或参数有误", A::UserRetries),
    read_aloud(-3, "busy", "服务繁忙", A::UserRetries),
    read_aloud(-4, "the vendor's back end failed", "后台服务失败", A::UserRetries),
    read_aloud(-5, "the vendor's back end failed to enter the room", "后台进入房间失败", A::UserRetries),
    read_aloud(-6, "the vendor's back end failed to record", "后台录制失败", A::UserRetries),
    read_aloud(-7, "file could not be stored", "文件存储失败", A::UserRetries),
    read_aloud(-8, "the vendor's back end entered the room twice", "后台重复进入房间", A::UserRetries),
    read_aloud(-9, "live video stream failed", "视频流异常", A::UserRetries),
    read_aloud(-10, "speech not recognised", "语音识别失败", A::UserRetries),
    read_aloud(-11, "flow interrupted", "流程中断", A::UserRetries),
    read_aloud(-12, "flow not finished", "流程未完成", A::UserRetries),
    read_aloud(-13, "token check failed", "凭证校验失败", A::UserRetries),
    read_aloud(-14, "flow has ended", "流程已结束", A::NewVerification),
    read_aloud(-15, "more retries than were set", "超过设定的重试次数", A::NewVerification),
    read_aloud(-16, "unknown system error", "未知的系统异常", A::Operator),
    read_aloud(-17, "no voice of the user", "未检测到用户的声音", A::UserRetries),
    row(-101, S::Intention, "face not in the frame", "脸部不在画面内", A::UserRetries),
    row(-102, S::Intention, "several faces", "检测到多张人脸", A::UserRetries),
    row(-103, S::Intention, "face not detected", "未检测到人脸", A::UserRetries),
    row(-104, S::Intention, "face incomplete", "脸部不完整", A::UserRetries),
    row(-105, S::Intention, "eyes covered", "眼部被遮挡", A::UserRetries),
    row(-106, S::Intention, "mouth covered", "嘴部被遮挡", A::UserRetries),
    row(-107, S::Intention, "nose covered", "鼻部被遮挡", A::UserRetries),
    row(-201, S::Intention, "face similarity too low", "人脸相似度过低", A::RejectOrRetry),
    row(-202, S::Intention, "face comparison failed", "人脸比对失败", A::UserRetries),
    row(-301, S::Intention, "intention not confirmed", "意愿未确认", A::RejectOrRetry),
    row(-302, S::Intention, "no mouth movement while answering", "作答时未检测到张嘴", A::UserRetries),
    row(-800, S::Intention, "browser not compatible", "浏览器不兼容", A::OtherBrowser),
    row(-801, S::Intention, "camera or microphone refused", "未授权使用摄像头或麦克风", A::UserRetries),
    row(-802, S::Intention, "interrupted (page switched)", "流程中断（切换了页面）", A::UserRetries),
    row(-803, S::Intention, "user closed the page", "用户关闭了页面", A::UserRetries),
    row(-804, S::Intention, "unstable network", "网络不稳定", A::UserRetries),
    row(-998, S::Intention, "system data exception", "系统数据异常", A::RetryLater),
    row(-999, S::Intention, "unknown system error", "未知的系统异常", A::Operator),
    row(3001, S::Intention, "face not in the frame", "脸部不在画面内", A::UserRetries),
    row(3002, S::Intention, "several faces", "检测到多张人脸", A::UserRetries),
    row(3003, S::Intention, "face not detected", "未检测到人脸", A::UserRetries),
    row(3011, S::Intention, "face similarity too low", "人脸相似度过低", A::RejectOrRetry),
    row(3012, S::Intention, "face comparison failed", "人脸比对失败", A::UserRetries),
    row(
        INTENTION_STEP_OFF,
        S::Intention,
        "the flow has an intention step here, and none in the vendor's console",
        "此流程在网关配置了意愿核身，而控制台中没有开启",
        A::Operator,
    ),
    row(
        INTENTION_MODE_DIFFERS,
        S::Intention,
        "the flow's intention step has another mode in the vendor's console than here",
        "此流程的意愿核身方式与控制台中的不一致",
        A::Operator,
    ),
];
