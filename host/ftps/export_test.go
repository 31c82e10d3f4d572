package ftps

// Reads is how often files were read for a digest.
func (s *Service) Reads() int64 { return s.reads.Load() }
