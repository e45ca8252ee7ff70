"""Fine-tuning a pretrained model of raw sound to tell labels apart; its insides then give the vectors."""
