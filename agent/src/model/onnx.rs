//! ONNX networks through tract. The only module that names tract.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tract_onnx::prelude::{
    Datum, Framework, InferenceModelExt, IntoRunnable, IntoTValue, Tensor, TractResult, TypedRunnableModel, tvec,
};
use tract_onnx::tract_hir::infer::InferenceFact;

use crate::engine::Network;

/// A network with one input `[1, inputs]` and one output `[1, outputs]`, float32.
pub(super) struct OnnxNetwork {
    plan: Arc<TypedRunnableModel>,
}

impl OnnxNetwork {
    /// Parses, fixes the shapes and optimises. A panic of the parser on a malformed file is an error here.
    pub(super) fn new(bytes: &[u8], inputs: usize, outputs: usize) -> Result<Self, String> {
        let built = catch_unwind(AssertUnwindSafe(|| build(bytes, inputs)));
        let plan = match built {
            Ok(plan) => plan.map_err(|e| format!("not a network that can be used: {e:#}"))?,
            Err(_) => return Err("not a network that can be used: the ONNX reader failed on it".into()),
        };
        let mut network = Self { plan };
        network.run(&vec![0.0; inputs], &mut vec![0.0; outputs])?;
        Ok(network)
    }
}

fn build(bytes: &[u8], inputs: usize) -> TractResult<Arc<TypedRunnableModel>> {
    tract_onnx::onnx()
        .model_for_read(&mut Cursor::new(bytes))?
        .with_input_fact(0, InferenceFact::dt_shape(f32::datum_type(), [1, inputs]))?
        .into_optimized()?
        .into_runnable()
}

impl Network for OnnxNetwork {
    fn run(&mut self, x: &[f32], y: &mut [f32]) -> Result<(), String> {
        let failed = |e| format!("inference: {e:#}");
        let input = Tensor::from_shape(&[1, x.len()], x).map_err(failed)?;
        let result = catch_unwind(AssertUnwindSafe(|| self.plan.run(tvec!(input.into_tvalue()))))
            .map_err(|_| "inference: the network failed".to_string())?
            .map_err(failed)?;
        let output = result.first().ok_or("inference: the network has no output")?;
        if output.datum_type() != f32::datum_type() || output.shape() != [1, y.len()] {
            return Err(format!(
                "its output is {:?} of shape {:?}, the manifest says float32 of shape [1, {}]",
                output.datum_type(),
                output.shape(),
                y.len()
            ));
        }
        let view = output.to_plain_array_view::<f32>().map_err(failed)?;
        for (to, from) in y.iter_mut().zip(view.iter()) {
            *to = *from;
        }
        Ok(())
    }
}
