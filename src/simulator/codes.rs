//! The result codes of an attempt: at which stage each one arises, whether it is billed, and what
//! the user reads.

use Stage::{Compare, Final, Intention, Liveness, Ocr, System, Wechat};

/// One result code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResultCode {
    pub(super) code: i64,
    pub(super) stage: Stage,
    /// Whether an attempt that ends with this code is on the bill.
    pub(super) billed: bool,
    /// The message, in Chinese as the vendor gives it. For people only; it is no contract.
    pub(super) message: &'static str,
}

/// How far an attempt came before the code arose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Passed.
    Final,
    System,
    /// WeChat itself, while it hands over the picture or the video.
    Wechat,
    Ocr,
    Liveness,
    Compare,
    /// The intention step, which comes after a face that passed.
    Intention,
}

/// The code of a flow that has been finished and takes no further attempt.
pub(super) const ALREADY_COMPLETE: i64 = 14;
/// The code of a token that is too old to verify with.
pub(super) const TOKEN_EXPIRED: i64 = 15;
/// The code of a token whose attempts are used up.
pub(super) const RETRY_LIMIT: i64 = 16;

/// Looks a code up; `None` for one that the vendor does not have.
pub(super) fn find(code: i64) -> Option<&'static ResultCode> {
    ALL.iter().find(|known| known.code == code)
}

/// Every code, in the vendor's order.
pub(super) fn all() -> impl Iterator<Item = &'static ResultCode> {
    ALL.iter()
}

/// The message for a code, also for one that a fault has made up.
pub(super) fn message(code: i64) -> &'static str {
    find(code).map_or("未知错误", |known| known.message)
}

/// Whether a user can end an attempt with this code. 14 to 17 describe the token instead.
pub(super) fn ends_an_attempt(code: i64) -> bool {
    find(code).is_some() && !(14..=17).contains(&code)
}

const fn free(code: i64, stage: Stage, message: &'static str) -> ResultCode {
    ResultCode { code, stage, billed: false, message }
}

const fn billed(code: i64, stage: Stage, message: &'static str) -> ResultCode {
    ResultCode { code, stage, billed: true, message }
}

// 1002 is free here: the vendor bills it on the Plus edition only, which is another product.
const ALL: &[ResultCode] = &[
    billed(0, Final, "成功"),
    free(1, System, "调用方式有误"),
    free(2, System, "调用方式有误"),
    free(3, System, "调用方式有误"),
    free(4, System, "服务异常，请稍后再试"),
    free(8, System, "服务异常，请稍后再试"),
    free(10, System, "服务异常，请稍后再试"),
    free(12, System, "服务异常，请稍后再试"),
    free(13, System, "服务异常，请稍后再试"),
    free(14, System, "本次核身已完成"),
    free(15, System, "本次核身已过期，请重新发起"),
    free(16, System, "核身次数已用完，请重新发起"),
    free(17, System, "核身流程未完成"),
    free(201, Wechat, "从微信获取图片失败，请重试"),
    free(202, Wechat, "从微信获取视频失败，请重试"),
    free(203, Wechat, "没有该接口的权限"),
    free(204, Wechat, "公众号未授权人脸核身"),
    free(301, Ocr, "身份证号码与提交的不一致"),
    free(302, Ocr, "身份证已过期，请使用有效证件"),
    free(303, Ocr, "身份证识别失败，请重新拍摄"),
    free(1001, Liveness, "活体检测超时，请重试"),
    free(1002, Liveness, "疑似非真人操作"),
    free(1003, Liveness, "未能识别，请重试"),
    free(1004, Liveness, "活体检测未通过，请重试"),
    free(1005, Liveness, "活体检测未通过，请重试"),
    free(1006, Liveness, "证件库异常，请稍后再试"),
    free(1007, Liveness, "未取得微信活体结果，请重试"),
    free(1008, Liveness, "网络不稳定，请重试"),
    free(1101, Liveness, "未识别到声音，请大声朗读"),
    free(1102, Liveness, "人脸未完整露出，请重试"),
    free(1103, Liveness, "声音识别失败，请重试"),
    free(1104, Liveness, "视频格式有误，请换一部手机"),
    free(1105, Liveness, "视频获取失败，请重试"),
    free(1106, Liveness, "声音太小，请大声朗读"),
    free(1107, Liveness, "视频为空或时长不符，请录制约六秒"),
    free(1108, Liveness, "视频清晰度过低，请换一部手机"),
    free(1109, Liveness, "未检测到唇动，请重试"),
    free(1201, Liveness, "光线不佳，请到明亮处重试"),
    free(1202, Liveness, "光线不佳，请避免强光"),
    free(1203, Liveness, "距离过近或过远，请调整"),
    free(1204, Liveness, "距离过近，请离远一些"),
    free(1205, Liveness, "距离过远，请靠近一些"),
    free(1301, Liveness, "疑似非真人录制"),
    free(1302, Liveness, "静默活体检测未通过，请重试"),
    free(1303, Liveness, "录制不足两秒，请重试"),
    free(2001, Compare, "比对超时，请重试"),
    free(2002, Compare, "姓名有误"),
    free(2003, Compare, "身份证号有误"),
    free(2004, Compare, "视频中没有可用的照片，请换一部手机"),
    free(2005, Compare, "查无此身份信息"),
    billed(2006, Compare, "姓名与身份证号不匹配"),
    free(2007, Compare, "没有可比对的照片"),
    free(2008, Compare, "没有可比对的照片"),
    free(2009, Compare, "库中照片过小"),
    free(2010, Compare, "人脸未完整露出，请重试"),
    free(2011, Compare, "非同一人，且疑似非真人"),
    free(2012, Compare, "画面中有多张人脸，请重试"),
    free(2013, Compare, "人脸未完整露出，请重试"),
    free(2014, Compare, "清晰度过低，请换一部手机"),
    free(2015, Compare, "比对失败，非同一人"),
    billed(2016, Compare, "相似度低于阈值，非同一人"),
    free(2017, Compare, "权威库升级中，请稍后再试"),
    free(2018, Compare, "操作过于频繁，触发风控，请改日再试"),
    free(-1, Intention, "系统或参数错误，请重试"),
    free(-2, Intention, "参数或系统错误，请重试"),
    free(-101, Intention, "人脸不在框内"),
    free(-102, Intention, "检测到多张人脸"),
    free(-103, Intention, "未检测到人脸"),
    free(-104, Intention, "人脸不完整"),
    free(-105, Intention, "眼部被遮挡"),
    free(-106, Intention, "嘴部被遮挡"),
    free(-107, Intention, "鼻部被遮挡"),
    free(-201, Intention, "人脸相似度过低"),
    free(-202, Intention, "人脸比对失败"),
    free(-301, Intention, "未确认意愿"),
    free(-302, Intention, "回答时没有唇动"),
    free(-800, Intention, "浏览器不兼容，请更换"),
    free(-801, Intention, "摄像头或麦克风未授权"),
    free(-802, Intention, "页面切换，流程中断"),
    free(-803, Intention, "页面被关闭"),
    free(-804, Intention, "网络不稳定"),
    free(-998, Intention, "系统数据异常，请稍后再试"),
    free(-999, Intention, "系统未知错误"),
    free(3001, Intention, "人脸不在框内"),
    free(3002, Intention, "检测到多张人脸"),
    free(3003, Intention, "未检测到人脸"),
    free(3011, Intention, "人脸相似度过低"),
    free(3012, Intention, "人脸比对失败"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_is_listed_twice() {
        let mut codes: Vec<i64> = ALL.iter().map(|known| known.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), ALL.len());
    }

    #[test]
    fn only_a_pass_and_two_comparisons_are_billed() {
        let billed: Vec<i64> = ALL.iter().filter(|known| known.billed).map(|known| known.code).collect();
        assert_eq!(billed, [0, 2006, 2016]);
    }

    #[test]
    fn the_state_of_a_token_ends_no_attempt() {
        for code in [ALREADY_COMPLETE, TOKEN_EXPIRED, RETRY_LIMIT, 17, 424_242] {
            assert!(!ends_an_attempt(code), "{code}");
        }
        for code in [0, 4, 201, 301, 1004, 2016, -301] {
            assert!(ends_an_attempt(code), "{code}");
        }
    }
}
