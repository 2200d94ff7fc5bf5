// The client: made from the .proto files when the program starts, nothing is generated.
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';

const proto = process.env.FACEID_PROTO ?? fileURLToPath(new URL('../../proto', import.meta.url));
const definition = loader.loadSync('faceid/v1/verification_service.proto', {
  includeDirs: [proto], longs: String, enums: String, defaults: true, oneofs: true,
});
const { VerificationService } = grpc.loadPackageDefinition(definition).faceid.v1;

// In production: TLS from the mesh, and "authorization: Bearer …" in each call's metadata.
export const gateway = new VerificationService(process.env.FACEID_GATEWAY ?? '127.0.0.1:50051', grpc.credentials.createInsecure());
export const { status } = grpc;

/** Calls a unary method; rejects with the gRPC error. */
export const call = (method, request, seconds = 10) => new Promise((resolve, reject) => {
  gateway[method](request, { deadline: Date.now() + seconds * 1000 }, (error, answer) => (error ? reject(error) : resolve(answer)));
});
