package s3mysql

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
)

// answerEmptyDeletes answers requests to delete nothing. Tessera's collector makes
// one for each full bundle that never was partial, S3 takes it for malformed, and
// the collector would begin with the same again for ever.
func answerEmptyDeletes(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("AnswerEmptyDeletes",
		func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			if d, ok := in.Parameters.(*s3.DeleteObjectsInput); ok && d.Delete != nil && len(d.Delete.Objects) == 0 {
				return middleware.InitializeOutput{Result: &s3.DeleteObjectsOutput{}}, middleware.Metadata{}, nil
			}
			return next.HandleInitialize(ctx, in)
		}), middleware.Before)
}
