"""Pretrained networks: any ViT or Swin of timm, and the small one that ships."""
